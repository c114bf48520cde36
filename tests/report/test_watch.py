"""The live page: what it shows of a run, to whom, and that it changes while a reader looks."""

from __future__ import annotations

import http.client
import json
import threading
import time
from dataclasses import replace

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browsing import Visit
from tieless.errors import StudyError
from tieless.report.live import live
from tieless.report.watch import Watch
from tieless.study import parse_claim
from tieless.study.results.store import Store
from tieless.study.running.underway import Underway, UnderwayTrial, underway
from tieless.study.trial import EpochRecord, Trial

BAD = "<img src=x onerror=alert(1)><script>alert(2)</script>"


@pytest.fixture
def trials(trial):
    return [trial(seed=seed, backward=rule, epochs=4) for seed in range(3) for rule in ("tied", "constant")]


@pytest.fixture
def folder(tmp_path, trials, study, result):
    plan = study(trials, claims=(parse_claim("constant is non-inferior to tied by 1 point"),))
    with Store.create(tmp_path, plan) as store:
        store.add(result(trials[0], 0.5, 0.6, 0.7, 0.8, seconds=8.0))
    return tmp_path


@pytest.fixture
def watch(folder):
    with Watch(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def asked(watch, path, method="GET", **headers):
    connection = http.client.HTTPConnection("127.0.0.1", watch.server_port, timeout=30)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read().decode()
    connection.close()
    return answer, body


def test_a_file_tells_what_runs_until_the_run_ends(tmp_path, trials):
    now = [0.0]
    file = Underway(tmp_path, lambda: now[0])
    assert underway(tmp_path) == (True, {})
    file.begin(trials[0])
    file.epoch(trials[0], EpochRecord(0.5, 0.5, 0.4, 0.75, 1.0))
    file.begin(trials[1])
    file.flush()
    assert underway(tmp_path)[1] == {}, "it is written once a second"
    assert 0 < file.wait <= 1
    now[0] = 2.0
    file.flush()
    found = underway(tmp_path)[1]
    assert {name: one.epochs for name, one in found.items()} == {
        trials[0].id: ((0.5, 0.75, None),),
        trials[1].id: (),
    }
    assert file.wait is None
    file.end(trials[0])
    now[0] = 9.0
    file.flush()
    assert list(underway(tmp_path)[1]) == [trials[1].id]
    file.close()
    assert underway(tmp_path) == (False, {})


def test_a_file_that_is_not_of_our_making_says_nothing(tmp_path):
    for content in ("", "[]", "{", '{"a": 1}', '{"a": {"began": "x", "epochs": [[1]]}}'):
        (tmp_path / "study.running").write_text(content, encoding="utf-8")
        assert underway(tmp_path)[1] == {}


def test_the_time_left_is_that_of_the_epochs_left(trials, study, result):
    plan = study(trials)
    results = [result(trials[0], 0.1, 0.2, 0.3, 0.4, seconds=8.0), result(trials[1], status="failed", error="no")]
    begun = {trials[2].id: UnderwayTrial(100.0, ((0.5, 0.5, None), (0.4, 0.6, None)))}
    found = live(plan, results, True, begun, now=107.0)
    # Two seconds an epoch: two epochs of the one that runs, four of each of three that wait. One at a time.
    assert found.left == pytest.approx(2 * (2 + 3 * 4))
    assert (found.done, found.failed, found.planned, found.epochs) == (1, 1, 6, (10, 24))
    (one,) = found.running
    assert (one.label, one.epochs, one.seconds, one.loss, one.samples) == ("tied, seed 1", 2, 7.0, 0.4, "test")
    assert [point.mean for point in one.panel.curves[0].points] == [0.5, 0.6]
    # The next run tries the failed one again.
    assert live(plan, results, False, {}, now=0.0).left == pytest.approx(2 * 5 * 4)
    assert live(plan, [], True, {}, now=0.0).left is None


def test_the_page_is_for_the_one_with_the_token_on_this_machine(watch):
    good = f"/{watch.token}/"
    answer, body = asked(watch, good)
    assert (answer.status, "Two slopes" in body) == (200, True)
    assert watch.server_address[0] == "127.0.0.1"
    for path in ("/", "/part", "/x/", f"/{watch.token}", f"{good}other", f"/{watch.token[:-1]}/", f"{good}../", "//"):
        answer, body = asked(watch, path)
        assert (answer.status, "slopes" in body) == (404, False), path
    for host in ("example.org", f"example.org:{watch.server_port}", "127.0.0.1", ""):
        answer, body = asked(watch, good, Host=host)
        assert (answer.status, "slopes" in body) == (403, False), host
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert asked(watch, good, method)[0].status == 501
    assert asked(watch, good)[0].headers["Referrer-Policy"] == "no-referrer"


def test_a_folder_without_a_study_and_a_taken_port_are_told(tmp_path, watch, folder):
    with pytest.raises(StudyError, match="No study in"):
        Watch(tmp_path / "nothing")
    with pytest.raises(StudyError, match=r"Cannot serve on port \d+ of 127.0.0.1: .*--port"):
        Watch(folder, watch.server_port)


def test_a_reader_sees_results_as_they_come(browser, watch, folder, trials, study, result, monkeypatch):
    monkeypatch.setattr(f"{underway.__module__}._FRESH", 3600)  # however slow this machine is
    plan = study(trials, claims=(parse_claim("constant is non-inferior to tied by 1 point"),))
    with Visit(browser, "about:blank") as visit:
        visit.context.set_offline(False)
        visit.page.goto(watch.address)
        told = visit.page.get_by_role("status")
        expect(told).to_have_text("not running, 1 of 6 trials")
        running = Underway(folder)
        running.begin(trials[2])
        for accuracy in (0.5, 0.7):
            running.epoch(trials[2], EpochRecord(0.3, 0.5, 0.4, accuracy, 1.0))
        time.sleep(running.wait or 0)
        running.flush()
        expect(told).to_have_text("running, 1 of 6 trials")
        expect(visit.page.locator(".running li")).to_contain_text("epoch 2 of 4, training loss 0.3")
        expect(visit.page.locator(".running svg text.f")).to_have_text("test accuracy: 70.0 %")
        with Store.create(folder, plan) as store:
            store.add_all([result(trials[1], 0.5, 0.6, 0.7, 0.75), result(trials[3], status="failed", error=BAD)])
        expect(told).to_have_text("running, 3 of 6 trials")
        expect(visit.page.get_by_role("region", name="Failed trials")).to_contain_text(BAD)
        expect(visit.page.get_by_role("region", name="Latest results")).to_contain_text("75.00 %")
        running.close()
        expect(told).to_have_text("not running, 3 of 6 trials")
        assert visit.page.locator("img").count() == 0
        here = [url for url in visit.requests if not url.startswith((watch.address, "about:", "data:"))]
        assert (here, visit.complaints) == ([], [])


def test_a_page_says_that_its_server_has_ended(browser, folder):
    with Watch(folder) as server, Visit(browser, "about:blank") as visit:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        visit.context.set_offline(False)
        visit.page.goto(server.address)
        told = visit.page.get_by_role("status")
        expect(told).to_have_text("not running, 1 of 6 trials")
        server.shutdown()
        thread.join()
        server.server_close()
        expect(told).to_have_text("'tieless study watch' has ended")


def test_a_store_that_is_damaged_or_gone_is_told_on_the_page(watch, folder):
    (folder / "study.db").rename(folder / "elsewhere.db")
    watch._next = 0.0
    assert "No study in" in asked(watch, f"/{watch.token}/part")[1]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_on_the_live_page(browser, watch, folder, trials, scheme, width):
    hostile = {trials[2].id: {"began": time.time(), "epochs": [[0.5, 0.5, None], [0.4, 0.6, None]]}}
    (folder / "study.running").write_text(json.dumps(hostile), encoding="utf-8")
    with Visit(browser, "about:blank", color_scheme=scheme, viewport={"width": width, "height": 900}) as visit:
        visit.context.set_offline(False)
        visit.page.goto(watch.address)
        expect(visit.page.locator(".running svg")).to_be_visible()
        found = Axe().run(visit.page)
        assert found.violations_count == 0, found.generate_report()
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_hostile_names_stay_text(tmp_path, study, result, trial, browser):
    hostile = Trial.from_dict({**trial().to_dict(), "model": BAD, "data": BAD})
    plan = study([hostile, replace(trial(seed=1))], title=BAD, name=BAD)
    with Store.create(tmp_path, plan) as store:
        store.add(result(hostile, status="failed", error=BAD))
    with Watch(tmp_path) as server:
        part = server.part()
    assert "<img" not in part
    assert "<script" not in part
    assert part.count("&lt;img") >= 4
