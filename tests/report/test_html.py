from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from itertools import product

import pytest

from tieless.errors import StudyError
from tieless.report import html, write
from tieless.report.collect import assemble
from tieless.report.records import Estimate, TableCell
from tieless.study import parse_claim
from tieless.study.results.store import Store
from tieless.study.trial import BackwardPass

HOSTILE = "<script>alert(1)</script> & \"two\" 'one' {{ 7 * 7 }}"


class Page(HTMLParser):
    """Elements with their attributes, the text of table cells by row, all text, and what was left open."""

    VOID = frozenset({"meta", "link", "br", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data):
        if self.open and self.open[-1] in {"script", "style"}:
            return
        self.text += data
        if any(tag in self.open for tag in ("td", "th")):
            self.rows[-1][-1] += data

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture
def page(typical, report_of) -> Page:
    return Page(html.render(report_of(typical)))


@pytest.fixture
def large(trial, result, study):
    """1080 trials of 100 epochs, every one its own curve band."""
    rules = ["tied", "frozen", "constant", "rectangular(-0.5, 0.5)", "full_jam", "positive_jam", "rectangular_jam"]
    rules += ['full_jam(replace="magnitude")', 'positive_jam(gate="feedback")']
    trials = [
        trial(forward=forward, backward=rule, optimiser=optimiser, learning_rate=rate, seed=seed, epochs=100)
        for optimiser, rate, forward, rule, seed in product(
            ("sgd", "adam"), (0.001, 0.01, 0.1, 1.0), ("relu", "linear", "logistic"), rules, range(5)
        )
    ]
    levels = [[0.1 + (i * (epoch + 7) % 97) / 120 for epoch in range(100)] for i in range(len(trials))]
    results = [result(each, *accuracies) for each, accuracies in zip(trials, levels, strict=True)]
    return assemble(study(trials), results)


def test_every_element_is_closed(page):
    assert page.open == []


def test_ids_are_unique_and_every_inner_link_has_its_target(large):
    page = Page(html.render(large))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for tag in ("a", "use") for a in page.of(tag)]
    labels = [i for _, a in page.elements for i in (a.get("aria-labelledby") or "").split()]
    assert {link.removeprefix("#") for link in links} | set(labels) <= set(ids)


def test_the_page_loads_nothing(large):
    text = html.render(large)
    page = Page(text)
    for tag, attributes in page.elements:
        for name in ("src", "srcset", "href", "xlink:href", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith("#") or value == "data:,", f"<{tag} {name}={value}>"
    assert "url(" not in text
    assert "@import" not in text
    assert not re.search(r"https?://|//[a-z]", re.sub(r"^\s*//.*$", "", text, flags=re.MULTILINE))
    (policy,) = [a["content"] for a in page.of("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")


def test_a_thousand_trials_of_a_hundred_epochs_stay_under_two_megabytes(large):
    assert large.run == 1080
    assert len(html.render(large).encode()) < 2_000_000


def test_a_row_shows_each_cell_with_its_baselines_beside_it(page):
    row = next(row for row in page.rows if row[0].endswith("constant(1)"))
    minus = "\N{MINUS SIGN}"
    assert [" ".join(text.split()) for text in row] == [
        "constant(1)",
        "75.0 ±10.8",
        f"{minus}4.0",
        "+23.0",
        "10.0 ±0.0◐ 3/3 single class",
        f"{minus}61.0",
        f"{minus}21.0",
        "62.0 ±2.5",
        "+12.0",
    ]


def test_a_cell_that_does_not_exist_says_why(page):
    assert next(row for row in page.rows if row[0].endswith("tied"))[-1] == "cannot be tied"
    assert "There is no tied heaviside" in page.text


def test_a_cell_whose_seeds_all_diverged_shows_chance_and_says_so(page):
    row = next(row for row in page.rows if row[0].endswith("full_jam"))
    minus = "\N{MINUS SIGN}"
    # Tied 71, frozen 31, and one class in ten.
    assert [text.strip() for text in row[4:7]] == ["10.0 ±0.0✕ 3/3 diverged", f"{minus}61.0", f"{minus}21.0"]


def data_of(text: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)[1])


def test_every_number_gives_its_seeds(typical, report_of):
    text = html.render(report_of(typical))
    cells = data_of(text)["cells"]
    numbers = [int(a["data-i"]) for a in Page(text).of("td") if "data-i" in a]
    assert sorted(numbers) == list(range(len(cells))) == list(range(11))
    (cell,) = [cell for cell in cells if (cell["rule"], cell["forward"]) == ("constant(1)", "relu")]
    assert cell["told"][1].startswith("mean 75.00 %")
    assert (
        f'data-n="{cells.index(cell)}"><span>seed 0: 70.00 %</span><span>seed 1: 78.00 %</span><span>seed 2: 77.00 %</span>'
        in text
    )
    assert cell["runs"] == [[0, "done", 70.0], [1, "done", 78.0], [2, "done", 77.0]]
    assert cell["epochs"] == [37.5, 35.0, 39.0, 75.0, 70.0, 78.0]


def test_a_page_can_be_filtered_by_the_axes_that_vary(trial, result, report_of):
    made = [
        result(trial(optimiser=optimiser, learning_rate=rate), 0.5, 0.5)
        for optimiser, rate in product(("sgd", "adam"), (1.0, 0.1))
    ]
    filters = data_of(html.render(report_of(made)))["filters"]
    assert filters == [
        {"name": "learning rate", "values": ["0.1", "1"]},
        {"name": "optimiser", "values": ["sgd", "adam"]},
    ]


def test_two_seeds_show_both_values_and_nowhere_an_interval(trial, result, study):
    runs = [
        result(trial(seed=seed, backward=rule), 0.5, end)
        for rule, ends in (("tied", (0.8, 0.9)), ("constant", (0.7, 0.85)))
        for seed, end in enumerate(ends)
    ]
    claims = (parse_claim("constant is non-inferior to tied by 1 point"),)
    text = html.render(assemble(study([run.trial for run in runs], claims=claims), runs))
    row = next(row for row in Page(text).rows if row[0].endswith("constant(1)"))
    assert [cell.strip() for cell in row[1:]] == ["77.5 70.0, 85.0", "\N{MINUS SIGN}7.5"]
    assert "±" not in text[text.index("<section") :].replace(">±1.2<", "")
    assert "undecided: 2 pairs, and a verdict needs 5" in text
    assert "77.5 % against 85.0 %, \N{MINUS SIGN}7.50 (no interval) points, 2 pairs, collapsed 0 and 0 of 2" in text


def test_one_seed_says_that_it_has_no_interval(trial, result, report_of):
    page = Page(html.render(report_of([result(trial(), 0.4, 0.5)])))
    assert any("50.0 n=1" in row for row in page.rows)


def test_the_best_table_says_how_it_was_chosen(trial, result, report_of):
    results = [result(trial(learning_rate=rate), 0.1, rate) for rate in (0.1, 0.2, 0.3)]
    page = Page(html.render(report_of(results)))
    said = " ".join(page.text.split())
    assert "fewest seeds diverged, then the highest mean" in said
    assert "these numbers are optimistic" in said
    assert any("0.3↑" in row for row in page.rows)


def test_curves_have_names_for_those_who_do_not_see_them(page):
    (described,) = re.findall(r"After the last epoch:( tied 81\.0 %[^.]*\..*?)(?=80|$)", page.text, flags=re.DOTALL)[:1]
    assert "constant(1) 75.0 %" in described
    assert sum(a.get("role") == "img" for a in page.of("svg")) == 3


def test_an_unfinished_study_says_how_far_it_is(trial, result, study):
    trials = [trial(seed=0), trial(seed=1)]
    page = Page(html.render(assemble(study(trials), [result(trials[0], 0.5, 0.5)])))
    assert "1 of 2 trials have run" in page.text
    assert [(a["value"], a["max"]) for a in page.of("progress")] == [("1", "2")]


def test_a_finished_study_does_not(page):
    assert page.of("progress") == []


def test_the_page_says_how_to_run_it_again_and_on_what_it_ran(trial, result, study):
    one = trial()
    plan = study(
        [one], overrides=("epochs=2", "seeds=[0]"), fallback="No images here.", settings={"grid": {"seeds": 0}}
    )
    page = Page(html.render(assemble(plan, [result(one, 0.5, 0.5)])))
    assert "tieless study run two-slopes --set=epochs=2 '--set=seeds=[0]'" in page.text
    assert "seeds: 0" in page.text
    assert "No images here." in page.text
    assert ["torch", "2.13.0"] in page.rows
    assert ["first trial started", "2026-11-23T20:00:00+00:00"] in page.rows


def test_everything_from_outside_is_escaped(trial, result, study):
    one, two = trial(seed=0), trial(seed=1)
    plan = study(
        [one, two],
        name=HOSTILE,
        run_as=HOSTILE,
        title=HOSTILE,
        question=HOSTILE,
        table=HOSTILE,
        fallback=HOSTILE,
        overrides=(HOSTILE,),
        settings={"grid": {"data": HOSTILE}},
    )
    outside = {HOSTILE: HOSTILE}
    results = [
        result(one, status="failed", error=HOSTILE, versions=outside, hardware=outside),
        result(two, 0.5, 0.5, versions=outside, hardware=outside),
    ]
    text = html.render(assemble(plan, results))
    page = Page(text)
    assert text.count("<script>") == 1
    # Page title, name, table, title, question, fallback, error; name and value of a version and of the hardware; and
    # title, question, table and data in the YAML.
    assert page.text.count(HOSTILE) == 15
    assert len(data_of(text)["cells"]) == 1
    # The shell's quotes stand between in the command, which has it twice.
    assert page.text.count("<script>alert(1)</script>") == 17


def test_equal_stores_give_equal_pages(typical, study, tmp_path):
    plan = study(result.trial for result in typical)
    for folder, results in (("a", typical), ("b", typical[::-1])):
        (tmp_path / folder).mkdir()
        with Store.create(tmp_path / folder, plan) as store:
            for each in results:
                store.add(each)
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert first == tmp_path / "a" / "report.html"
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path) not in first.read_text(encoding="utf-8")


def test_a_page_is_written_whole_or_not_at_all(typical, study, tmp_path, monkeypatch):
    with Store.create(tmp_path, study(result.trial for result in typical)) as store:
        store.add(typical[0])
    write(tmp_path).write_text("the page before", encoding="utf-8")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(StudyError, match=r"^Cannot write .*report\.html: No space left on device"):
        write(tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "the page before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "study.db"]


def test_a_rule_keeps_its_style_and_every_style_is_in_the_sheet(large):
    text = html.render(large)
    sheet = text[text.index("<style>") : text.index("</style>")]
    styles = html._styles((*large.rules, *(BackwardPass(f"other{i}") for i in range(20))))
    assert (styles[BackwardPass("tied")], styles[BackwardPass("frozen")]) == ("tied", "frozen")
    assert len(set(styles.values())) == 2 + html.STYLES
    assert all(re.search(rf"\.{style}\b[^{{]*{{[^}}]*--hue", sheet) for style in styles.values())


@pytest.mark.parametrize(
    ("points", "tint"),
    [(-30.0, "m4"), (-10.0, "m3"), (-3.04, "m2"), (-1.0, "m1"), (-0.94, "h0"), (0.94, "h0"), (0.96, "p1"), (50, "p4")],
)
def test_a_tint_follows_the_number_that_is_printed(points, tint):
    cell = TableCell(
        forward="relu",
        backward=BackwardPass("constant(1)"),
        learning_rate=0.1,
        planned=1,
        runs=(),
        value=None,
        to_tied=Estimate(2, points / 100, 0.1),
    )
    assert html._heat(cell) == tint
