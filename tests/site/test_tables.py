"""Tables of the site sort and filter in a browser."""

from pathlib import Path

import pytest

from tests.browsing import Visit

SCRIPT = (Path(__file__).parents[2] / "docs" / "assets" / "site.js").read_text(encoding="utf-8")
ROWS = [
    ("[a](a.html)", "ReLU", "\N{MINUS SIGN}0.80 ?"),
    ("", "Linear", "+39.38 \N{CHECK MARK} (5/5)"),
    ("b", "Logistic", "\N{EN DASH}"),
    ("", "Linear", "1,200.5"),
    ("c", "ReLU", "\N{MINUS SIGN}74.06 \N{MULTIPLICATION X}"),
    *((f"d{i}", "tanh", f"{i}") for i in range(2, 10)),
]


def page(rows, style="text-align: right;"):
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    head = f"<th>Rule</th><th>Activation</th><th style='{style}'>Points</th>"
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<!doctype html><html lang=en><article class=md-typeset>{table}</article><script>{SCRIPT}</script>"


@pytest.fixture
def visit(browser, tmp_path):
    (tmp_path / "page.html").write_text(page(ROWS), encoding="utf-8")
    with Visit(browser, (tmp_path / "page.html").as_uri()) as opened:
        yield opened
        assert opened.complaints == []
        assert len(opened.requests) == 1


def shown(visit, column):
    return visit.page.locator(f"tbody tr:visible td:nth-child({column})").all_inner_texts()


def test_a_head_sorts_numbers_both_ways_and_dashes_last(visit):
    points = visit.page.get_by_role("button", name="Points")
    points.click()
    values = shown(visit, 3)
    assert values[:2] == ["\N{MINUS SIGN}74.06 \N{MULTIPLICATION X}", "\N{MINUS SIGN}0.80 ?"]
    assert values[-3:] == ["+39.38 \N{CHECK MARK} (5/5)", "1,200.5", "\N{EN DASH}"]
    points.click()
    assert shown(visit, 3)[0] == "1,200.5"
    assert shown(visit, 3)[-1] == "\N{EN DASH}"
    assert visit.page.get_by_role("columnheader", name="Points").get_attribute("aria-sort") == "descending"


def test_words_that_stood_above_go_along(visit):
    visit.page.get_by_role("button", name="Points").click()
    rules = dict(zip(shown(visit, 3), shown(visit, 1), strict=True))
    assert (rules["+39.38 \N{CHECK MARK} (5/5)"], rules["1,200.5"]) == ("[a](a.html)", "b")


def test_a_filter_keeps_the_rows_that_have_all_words(visit):
    field = visit.page.get_by_role("searchbox")
    field.fill("linear b")
    assert shown(visit, 3) == ["1,200.5"]
    field.fill("")
    assert len(shown(visit, 3)) == len(ROWS)


def test_a_table_of_links_stays_as_it_is(browser, tmp_path):
    (tmp_path / "page.html").write_text(page(ROWS[:5], style=""), encoding="utf-8")
    with Visit(browser, (tmp_path / "page.html").as_uri()) as opened:
        assert opened.page.get_by_role("button").count() == 0
