import runpy
from pathlib import Path

import pytest

from tests import browsing

browser = browsing.browser
BUILD = runpy.run_path(str(Path(__file__).parents[2] / "tools" / "build_playground.py"))


@pytest.fixture(scope="session")
def address(tmp_path_factory):
    page = tmp_path_factory.mktemp("site") / "playground.html"
    page.write_text(BUILD["page"](), encoding="utf-8")
    return page.as_uri()


@pytest.fixture(scope="module")
def quiet(browser, address):
    """The page, which trains nothing by itself for a reader who wants no motion."""
    with browsing.Visit(browser, address, reduced_motion="reduce") as visit:
        yield visit.page
        assert visit.complaints == []
