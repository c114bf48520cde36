"""The page as a reader meets it: in headless Chromium, without a network."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browsing import Visit
from tieless.report import words, write
from tieless.report.collect import assemble
from tieless.study.results.store import Store


@pytest.fixture
def report(typical, study):
    return assemble(study(result.trial for result in typical), typical)


@pytest.fixture
def address(typical, study, tmp_path: Path) -> str:
    with Store.create(tmp_path, study(result.trial for result in typical)) as store:
        for each in typical:
            store.add(each)
    return write(tmp_path).as_uri()


def test_the_table_shows_the_number_of_the_record(browser, address, report):
    cell = report.sections[0].blocks[0].grid.cell("constant(1)", "relu")
    with Visit(browser, address) as visit:
        row = visit.page.locator("table.grid tr", has=visit.page.get_by_role("rowheader", name="constant(1)"))
        numbers = row.locator("td")
        assert numbers.nth(0).locator("b").inner_text() == words.percent(cell.accuracy.mean) == "75.0"
        assert numbers.nth(1).inner_text() == words.difference(cell.to_tied)
        assert numbers.nth(2).inner_text() == words.difference(cell.to_frozen)


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser, address):
    with Visit(browser, address) as visit:
        for summary in visit.page.locator("main summary").all():
            summary.click()
        visit.page.locator("#theme").click()
        visit.page.locator("td[title]").first.click()
        visit.page.wait_for_load_state("networkidle")
        assert [url for url in visit.requests if not url.startswith("data:")] == [address]
        assert visit.complaints == []


def test_every_curve_is_drawn_inside_its_panel(browser, address):
    with Visit(browser, address) as visit:
        panels = visit.page.locator("svg.panel")
        assert panels.count() == 3
        # 4 rules for relu and logistic, 3 for heaviside; all logistic runs under full_jam diverged.
        assert visit.page.locator("svg.panel .c").count() == 11
        assert visit.page.locator("svg.panel .l:not(.lost)").count() == 10
        assert visit.page.locator("svg.panel .stop").count() == 4
        outside = visit.page.evaluate(
            """() => [...document.querySelectorAll("svg.panel")].filter((panel) => {
                const frame = panel.getBoundingClientRect();
                return [...panel.querySelectorAll(".l, .b")].some((path) => {
                    const box = path.getBoundingClientRect();
                    return !box.width || box.left < frame.left || box.right > frame.right
                        || box.top < frame.top || box.bottom > frame.bottom;
                });
            }).length"""
        )
        assert outside == 0


def test_dark_and_light_follow_the_system_and_the_switch(browser, address):
    with Visit(browser, address, color_scheme="light") as light, Visit(browser, address, color_scheme="dark") as dark:
        white, black = light.style("html", "backgroundColor"), dark.style("html", "backgroundColor")
        assert (white, black) == ("rgb(251, 251, 250)", "rgb(20, 22, 26)")
        assert light.style("td.m2", "backgroundColor") != dark.style("td.m2", "backgroundColor")
        assert light.style("svg.panel .s0 .l", "stroke") != dark.style("svg.panel .s0 .l", "stroke")
        for visit, other in ((light, black), (dark, white)):
            before = visit.style("html", "backgroundColor")
            visit.page.locator("#theme").click()
            assert visit.style("html", "backgroundColor") == other
            visit.page.locator("#theme").click()
            assert visit.style("html", "backgroundColor") == before


def test_paper_is_white_in_dark_mode_too(browser, address):
    with Visit(browser, address, color_scheme="dark") as visit:
        visit.page.emulate_media(media="print")
        assert visit.style("html", "backgroundColor") == "rgb(251, 251, 250)"
        assert not visit.page.locator(".bar").is_visible()


def test_a_cell_gives_its_seeds_on_a_tap(browser, address, report):
    cell = report.sections[0].blocks[0].grid.cell("tied", "relu")
    with Visit(browser, address, viewport={"width": 390, "height": 800}, has_touch=True) as visit:
        shown = visit.page.locator("#values")
        assert not shown.is_visible()
        visit.page.locator("td[title]").first.tap()
        assert shown.inner_text() == words.tooltip(cell)
        visit.page.keyboard.press("Escape")
        assert not shown.is_visible()


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440])
def test_no_width_scrolls_sideways(browser, address, width):
    with Visit(browser, address, viewport={"width": width, "height": 800}) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_header_of_a_table_stays_in_sight(browser, address):
    with Visit(browser, address, viewport={"width": 1280, "height": 300}) as visit:
        header = visit.page.locator("table.grid thead").first
        visit.page.locator("table.grid tbody tr").last.scroll_into_view_if_needed()
        visit.page.evaluate("window.scrollBy(0, 60)")
        bar = visit.page.locator(".bar").bounding_box()
        assert header.bounding_box()["y"] == pytest.approx(bar["y"] + bar["height"], abs=1)


def test_the_contents_lead_to_every_section(browser, address):
    with Visit(browser, address) as visit:
        visit.page.locator(".contents summary").click()
        assert visit.page.locator(".contents a").all_inner_texts() == ["suc on digits", "What was run"]
        visit.page.locator(".contents a", has_text="What was run").click()
        assert visit.page.evaluate("location.hash") == "#run"
        assert not visit.page.locator(".contents nav").is_visible()
