"""A network and data of the user's own on a cluster until its claim is decided, by the commands of the pages."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tests.study.cluster import Cluster, end, wait_for
from tieless import own
from tieless.cli import main

pytest.importorskip("distributed")

NET = """\
import os
import time
from pathlib import Path

from torch import nn


def hold():
    # Only workers of the test have the variable. Each call counts; beyond a number of calls all stay where they are.
    place = os.environ.get("TIELESS_TEST_MARK")
    if not place:
        return
    with Path(place, "calls").open("a") as calls:
        calls.write(".")
    while Path(place, "calls").stat().st_size > max(int(name) for name in os.listdir(Path(place, "go"))):
        Path(place, "held", str(os.getppid())).touch()
        time.sleep(0.02)


class Net(nn.Module):
    def __init__(self, features, classes, width=8):
        super().__init__()
        self.hidden = nn.Linear(features, width)
        self.act = nn.ReLU()
        self.out = nn.Linear(width, classes)
        hold()

    def forward(self, x):
        return self.out(self.act(self.hidden(x)))
"""
CLAIM = "frozen is inferior to tied by 5 points"
STUDY = f"""\
title: Mine
question: Does a frozen slope impair my network?
core_hours: 0.01
imports: [mynet.py]
grid:
  data: ./mydata.npz
  model: mynet.py:Net(width=16)
  forward: relu
  backward: [tied, frozen]
  optimiser: adam
  learning_rate: 0.03
  batch: 20
  epochs: 2
  seeds: 0..2
claims:
  - {CLAIM}
"""
RUN = ["study", "run", "mystudy.yaml", "--import", "mynet.py", "--until-decided", "--max-seeds", "12"]


@pytest.fixture
def mark(tmp_path):
    """Folder in which the trials on the workers are counted, and held from the fifth stage on."""
    for name in ("go", "held"):
        (tmp_path / "mark" / name).mkdir(parents=True)
    (tmp_path / "mark/go/4").touch()
    return tmp_path / "mark"


@pytest.fixture
def cluster(tmp_path, mark, monkeypatch):
    """Cluster of two workers, in a folder that has none of the user's files."""
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "there")
    made = Cluster(
        tmp_path / "cluster.log", {"XDG_CACHE_HOME": str(tmp_path / "cache"), "TIELESS_TEST_MARK": str(mark)}
    )
    made.start_scheduler()
    for _ in range(2):
        made.start_worker()
    yield made
    made.close()


@pytest.fixture
def files(tmp_path, cluster, monkeypatch):
    """A network, data and a study of the user's own, in the working folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(own, "_LOADED", {})
    monkeypatch.setattr(own._MEMORY, "parts", {})
    Path("mynet.py").write_text(NET, encoding="utf-8")
    Path("mystudy.yaml").write_text(STUDY, encoding="utf-8")
    x = np.random.default_rng(0).normal(size=(600, 4)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    np.savez("mydata.npz", train_x=x[:400], train_y=y[:400], test_x=x[400:], test_y=y[400:])
    yield
    sys.modules.pop("mynet", None)


def invoke(*arguments, code=0):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == code, result.output
    return result.stdout_bytes.decode()


def numbers(folder):
    """All that is stored of a study's runs but times and the machine's name, by the run's id."""
    rows = json.loads(invoke("study", "export", folder, "--format", "json", "--out", "-"))
    return {
        row["id"]: {name: value for name, value in row.items() if name not in {"seconds", "started", "hardware_host"}}
        for row in rows
    }


def start(cluster):
    """Driver, whose lines are read from its output."""
    options = ["--out", "far", "--executor", "dask", "--address", cluster.address, "--checkpoint", "epochs"]
    return subprocess.Popen(
        [sys.executable, "-u", "-c", "from tieless_command import main; main()", *RUN, *options],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_until_held(mark, cluster, driver):
    """Wait until each worker is in the midst of a trial."""
    held = {mark / "held" / str(worker.pid) for worker in cluster.workers}
    for file in held:
        file.unlink(missing_ok=True)
    wait_for(lambda: all(file.exists() for file in held) or driver.poll() is not None)


def read_until(process, pattern):
    assert any(re.search(pattern, line) for line in process.stdout), pattern


@pytest.mark.usefixtures("files", "forked")
def test_a_network_of_ones_own_on_a_cluster_until_its_claim_is_decided_is_that_study_here(cluster, mark, monkeypatch):
    with start(cluster) as driver:
        wait_until_held(mark, cluster, driver)
        end(cluster.workers.pop())
        read_until(driver, "has left the cluster|was lost")
        driver.send_signal(signal.SIGTERM)
        said = driver.stdout.read()
    assert driver.returncode == 128 + signal.SIGTERM
    assert re.search(
        r"^Stopped by SIGTERM, [45] trials are left\. To continue: tieless study run mystudy", said, re.MULTILINE
    )
    assert json.loads(invoke("study", "status", "far", "--json"))["done"] in {1, 2}
    cluster.start_worker()
    (mark / "go/8").touch()
    with start(cluster) as driver:
        wait_until_held(mark, cluster, driver)
        end(cluster.workers.pop(0), signal.SIGTERM)
        read_until(driver, "has left the cluster|was lost|has dropped it")
        (mark / "go/1000").touch()
        said = driver.stdout.read()
    assert driver.returncode == 0, said
    assert f"{CLAIM}: holds" in said
    # Two stages of each trial, and those which the two workers and the driver took with them.
    assert (mark / "calls").stat().st_size == 48 + 3

    monkeypatch.setenv("TIELESS_TEST_MARK", "")
    invoke(*RUN, "--out", "here", "--workers", "2")
    assert len(numbers("here")) == 24
    assert numbers("far") == numbers("here")

    state = json.loads(invoke("study", "status", "far", "--json"))
    ended = {"running": False, "planned": 24, "added": 18, "done": 24, "left": 0, "imports": ["mynet.py"]}
    assert {name: state[name] for name in ended} == ended
    assert [claim["verdict"] for claim in state["claims"]] == ["holds"]
    invoke("study", "ask", "far", CLAIM, code=0)
    invoke("study", "ask", "far", "frozen is superior to tied by 5 points", code=3)
    invoke("study", "ask", "far", "frozen is inferior to tied by 30 points", code=4)
    assert f"{CLAIM}: holds" in invoke("study", "report", "far", "--import", "mynet.py", "--out", "page.html")
    assert "mynet.py:Net(16) on ./mydata.npz" in Path("page.html").read_text(encoding="utf-8")
    invoke("study", "backup", "far", "copy/study.db")
    assert numbers("copy") == numbers("far")
    invoke("study", "merge", "copy", "here", "--out", "both")
    assert numbers("both") == numbers("far")
    assert json.loads(invoke("study", "status", "both", "--json"))["claims"] == state["claims"]
