"""The page as a reader meets it: in headless Chromium, without a network."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browsing import Visit
from tieless.report import html, words, write
from tieless.report.collect import assemble
from tieless.study.results.store import Store
from tieless.study.trial import Trial


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
        assert numbers.nth(0).locator("b").inner_text() == words.value(cell.value.mean) == "75.0"
        assert numbers.nth(1).inner_text() == words.difference(cell.to_tied)
        assert numbers.nth(2).inner_text() == words.difference(cell.to_frozen)


def test_the_page_asks_for_nothing_and_complains_of_nothing(browser, address):
    with Visit(browser, address) as visit:
        for summary in visit.page.locator("main summary").all():
            summary.click()
        visit.page.get_by_role("button", name="vs tied").first.click()
        visit.page.locator("#theme").click()
        visit.page.locator("td[data-i] button").first.click()
        visit.page.wait_for_load_state("networkidle")
        assert [url for url in visit.requests if not url.startswith("data:")] == [address]
        assert visit.complaints == []


def test_every_curve_is_drawn_inside_its_panel(browser, address):
    with Visit(browser, address) as visit:
        visit.page.get_by_text("Learning curves", exact=True).click()
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


@pytest.mark.parametrize("width", [1400, 390])
def test_a_cell_opens_its_seeds_its_settings_and_its_curve(browser, address, report, width):
    cell = report.sections[0].blocks[0].grid.cell("constant(1)", "relu")
    with Visit(browser, address, viewport={"width": width, "height": 800}) as visit:
        card, button = visit.page.locator("#card"), visit.page.get_by_role("button", name="75.0")
        assert not card.is_visible()
        button.click()
        title, lines = words.heading(cell), [*words.seeds(cell), *words.estimates(cell)]
        assert card.get_by_role("heading").inner_text() == title
        assert card.get_by_role("listitem").all_inner_texts() == lines
        assert "batch 32" in card.locator(".settings").inner_text()
        assert card.locator("code").inner_text().endswith("--set=forward=relu '--set=backward=constant(1)'")
        drawn = card.locator("svg .c.this")
        assert (card.locator("svg .c").count(), drawn.count()) == (4, 1)
        assert drawn.locator("title").inner_html() == "constant(1)"
        assert visit.page.evaluate("document.activeElement.closest('#card') !== null")
        visit.page.keyboard.press("Escape")
        assert not card.is_visible()
        assert button.evaluate("e => e === document.activeElement")


def test_pointing_at_a_cell_and_moving_the_focus_there_show_it(browser, address):
    with Visit(browser, address) as visit:
        card = visit.page.locator("#card")
        visit.page.get_by_role("button", name="75.0").hover()
        expect(card).to_be_visible()
        visit.page.mouse.move(5, 5)
        expect(card).to_be_hidden()
        visit.page.locator("table.grid thead button").last.focus()
        visit.page.keyboard.press("Tab")
        expect(card.get_by_role("heading")).to_have_text("relu under tied, learning rate 0.1")
        visit.page.keyboard.press("Shift+Tab")
        expect(card).to_be_hidden()


def test_a_table_is_sorted_by_any_column_and_back(browser, address):
    with Visit(browser, address) as visit:
        table = visit.page.locator("table.grid")
        names = table.locator("tbody th")
        before = names.all_inner_texts()
        head = table.get_by_role("columnheader", name="vs frozen").first
        for order, expected in (
            ("descending", ["tied", "constant(1)", "full_jam", "frozen"]),
            ("ascending", ["full_jam", "constant(1)", "tied", "frozen"]),
            (None, before),
        ):
            head.get_by_role("button").press("Enter")
            assert (head.get_attribute("aria-sort"), names.all_inner_texts()) == (order, expected)
        table.get_by_role("columnheader", name="backward rule").get_by_role("button").click()
        assert names.all_inner_texts() == sorted(before)


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> str:
    """The page of a table of runs that is in the documentation: a forward, a rule, an optimiser and four learning rates."""
    table = Path(__file__).parents[2] / "docs" / "results" / "lenet5-jamming.csv"
    return write(table, None, tmp_path_factory.mktemp("page") / "lenet5.html").as_uri()


def test_filters_leave_what_they_name(browser, real):
    with Visit(browser, real) as visit:
        page = visit.page
        cells, told = page.locator("section.results td[data-i]:visible"), page.locator("#filter output")
        everything = cells.count()
        page.locator("#filter").get_by_label("forward").select_option("linear")
        assert set(page.locator("table.grid .forward:visible").all_inner_texts()) == {"linear"}
        page.locator("#filter").get_by_label("backward rule").select_option("full_jam")
        assert set(page.locator("table.grid tbody th:visible").all_inner_texts()) == {"full_jam"}
        assert 0 < cells.count() < everything
        found = page.evaluate(
            "() => { const at = data.filters.map((a) => a.name); return data.cells.filter("
            "(c) => c.forward === 'linear' && c.rule === 'full_jam').length; }"
        )
        assert told.inner_text().startswith(f"{found} of ")
        page.get_by_role("button", name="Show all").click()
        expect(told).to_have_text("")
        assert cells.count() == everything
        assert visit.complaints == []


def test_the_heat_map_has_the_means_of_two_axes(browser, real):
    with Visit(browser, real) as visit:
        page = visit.page
        page.locator("#map summary").click()
        page.get_by_label("rows").select_option("forward")
        page.get_by_label("columns").select_option("backward rule")
        names = page.locator("table.map thead th").all_inner_texts()[1:]
        row = page.locator("table.map tbody tr", has=page.get_by_role("rowheader", name="relu")).locator("td")
        shown = dict(zip(names, row.all_inner_texts(), strict=True))
        cells = page.evaluate("data.cells.filter((c) => c.best && c.forward === 'relu').map((c) => [c.rule, c.mean])")
        for rule in names:
            means = [mean for name, mean in cells if name == rule]
            assert float(shown[rule]) == pytest.approx(sum(means) / len(means), rel=1e-3)
        page.locator("#filter").get_by_label("forward").select_option("linear")
        assert page.locator("table.map tbody th").all_inner_texts() == ["linear"]


def test_every_figure_gives_its_data(browser, address, typical):
    with Visit(browser, address) as visit:
        visit.page.get_by_text("Learning curves", exact=True).click()
        rows: dict[str, list[list[str]]] = {}
        for button in visit.page.get_by_role("button", name="Download as CSV").all():
            if not button.is_visible():
                continue
            with visit.page.expect_download() as download:
                button.click()
            with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
                rows[download.value.suggested_filename] = list(csv.reader(file))
        assert set(rows) == {"runs.csv", "epochs.csv"}
        assert len(rows["runs.csv"]) == 1 + len(typical)
        place = rows["runs.csv"][0].index
        runs = {
            (row[place("forward")], row[place("backward rule")], row[place("seed")]): row[place("value")]
            for row in rows["runs.csv"]
        }
        assert (runs["relu", "constant(1)", "1"], runs["relu", "full_jam", "0"]) == ("78", "10")
        assert ["suc on digits", "constant(1)", "relu", "0.1", "2", "75", "70", "78", "accuracy"] in rows["epochs.csv"]


def test_names_that_would_be_markup_stay_text(browser, trial, result, study, tmp_path):
    """Whatever the page shows, filters by, opens or draws."""
    bad = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\u202e"
    made = [
        replace(each, trial=Trial.from_dict({**each.trial.to_dict(), "data": bad + data, "model": bad}))
        for seed in range(3)
        for data in "ab"
        for each in [result(trial(seed=seed), 0.5, 0.6)]
    ]
    plan = study([each.trial for each in made], title=bad, question=bad)
    page = tmp_path / "page.html"
    page.write_text(html.render(assemble(plan, made)), encoding="utf-8")
    with Visit(browser, page.as_uri()) as visit:
        dialogs: list[object] = []
        visit.page.on("dialog", lambda dialog: (dialogs.append(dialog), dialog.dismiss()))
        visit.page.locator("#filter select").first.select_option(index=1)
        visit.page.locator("td[data-i] button:visible").first.click()
        assert "<img src=x" in visit.page.locator("#card .settings").inner_text()
        assert visit.page.locator("img").count() == 0
        assert "\u202e" not in visit.page.content()
        assert (dialogs, visit.complaints) == ([], [])


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing(browser, address, real, scheme, width):
    for page in (address, real):
        with Visit(browser, page, color_scheme=scheme, viewport={"width": width, "height": 900}) as visit:
            for summary in visit.page.locator("main summary").all():
                if summary.is_visible():
                    summary.click()
            visit.page.locator("td[data-i] button").first.click()
            found = Axe().run(visit.page)
            assert found.violations_count == 0, found.generate_report()
