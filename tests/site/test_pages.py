"""The built site: axe finds nothing, nothing is wider than a phone, and nothing outside is asked for."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.browsing import Visit

pytest.importorskip("zensical")
ROOT = Path(__file__).parents[2]
# One of each kind.
PAGES = (
    *("index", "tutorial", "run-a-study", "binary", "concepts", "studies", "rules"),
    *("findings/index", "findings/jamming", "api/index", "api/nn", "notebooks/lenet5-small"),
)


def test_each_kind_of_page_is_sound_in_both_themes_and_widths(browser, pytestconfig):
    """In one test, so that the site is built once. ``--all`` asks of each width in each theme."""
    looks = [("light", 1400), ("dark", 390), ("dark", 1400), ("light", 390)]
    subprocess.run([sys.executable, "tools/build_docs.py"], cwd=ROOT, check=True, capture_output=True)
    found = []
    for theme, width in looks if pytestconfig.getoption("all") else looks[:2]:
        for page in PAGES:
            address = (ROOT / "site" / f"{page}.html").as_uri()
            with Visit(browser, address, viewport={"width": width, "height": 900}, color_scheme=theme) as visit:
                visit.page.wait_for_timeout(200)  # the theme adds its buttons
                violations = Axe().run(visit.page).response["violations"]
                found += [(theme, width, page, each["id"], each["nodes"][0]["html"]) for each in violations]
                wide = visit.page.evaluate("document.documentElement.scrollWidth")
                found += [(theme, width, page, "wide", wide)] if wide > width else []
                found += [(page, url) for url in visit.requests if not url.startswith(("file:", "data:", "blob:"))]
                if page == "concepts":
                    found += [(theme, width, said) for said in explained(visit.page)]
    assert found == []


def explained(page):
    """Complaints about the glossary on hover."""
    terms = page.locator(".md-content abbr")
    words = terms.all_inner_texts()
    complaints = [] if words == ["backward rule", "jam", "gate"] else [words]
    glossary = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
    meaning = re.search(r"^\| gate \| (.+?) \|", glossary, re.MULTILINE)[1].replace("`", "")
    terms.last.hover()
    page.get_by_text(meaning, exact=True).wait_for()
    return [*complaints, *page.locator("pre abbr, code abbr, h1 abbr, .md-content a abbr").all_inner_texts()]
