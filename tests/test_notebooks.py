"""The notebooks run as they are, their outputs are those of their sources, and each becomes a page."""

import re
import runpy
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tests.conformance.loading import FOLDER

ROOT = Path(__file__).parents[1]
TOOL = runpy.run_path(str(ROOT / "tools" / "notebooks.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def notebook(*sources: str) -> nbformat.NotebookNode:
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    made.cells.insert(0, nbformat.v4.new_markdown_cell("# Title\n\nSee [rules](../docs/rules.md)."))
    return made


@each_notebook
def test_it_runs_as_it_is(path, tmp_path):
    """An assert of its own that does not hold fails it too."""
    if path.stem == "spiking" and not (FOLDER / "snntorch").is_dir():
        pytest.skip("snntorch was not fetched: tools/get-peers")
    TOOL["execute"](TOOL["read"](path), tmp_path)


@each_notebook
def test_its_outputs_are_those_of_its_sources(path):
    """If not: python tools/notebooks.py run NAME."""
    read = TOOL["read"](path)
    assert read.metadata.tieless.outputs_of == TOOL["digest"](read)
    ran = [cell.execution_count for cell in read.cells if cell.cell_type == "code"]
    assert ran == list(range(1, len(ran) + 1))


@each_notebook
def test_it_becomes_a_page(path):
    text, figures = TOOL["page"](TOOL["read"](path), path.stem)
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"^# ", prose, re.MULTILINE)) == 1
    assert "**Takeaway.**" in prose
    assert figures
    assert re.findall(r"^!\[.+\]\((.+)\)$", prose, re.MULTILINE) == list(figures)
    for link in re.findall(r"\]\(\.\./([\w/-]+\.md)", prose):
        assert (ROOT / "docs" / link).is_file() or (ROOT / "notebooks" / f"{Path(link).stem}.ipynb").is_file()


def test_what_raises_is_not_run_through(tmp_path):
    with pytest.raises(CellExecutionError, match="too few"):
        TOOL["execute"](notebook("assert 1 > 2, 'too few'"), tmp_path)


def test_changed_sources_have_other_outputs():
    before, after = notebook("1 + 1"), notebook("1 + 2")
    TOOL["normalise"](before)
    assert before.metadata.tieless.outputs_of == TOOL["digest"](before) != TOOL["digest"](after)
    before.cells[0].source += " Words compute nothing."
    assert before.metadata.tieless.outputs_of == TOOL["digest"](before)


def test_what_changes_with_each_run_is_not_stored():
    made = notebook("plot()")
    made.cells[1].metadata["execution"] = {"iopub.execute_input": "2026-01-01T00:00:00Z"}
    drawn = {"image/svg+xml": "<svg>\n <metadata>\n today</metadata>\n</svg>", "text/plain": "<Figure>"}
    made.cells[1].outputs = [nbformat.v4.new_output("display_data", drawn)]
    TOOL["normalise"](made)
    assert [cell.id for cell in made.cells] == ["cell-0", "cell-1"]
    assert made.cells[1].metadata == {}
    assert made.cells[1].outputs[0].data == {"image/svg+xml": "<svg>\n</svg>"}


def test_a_path_of_the_machine_is_refused():
    made = notebook("os.getcwd()")
    made.cells[1].outputs = [nbformat.v4.new_output("stream", text=str(ROOT / "notebooks"))]
    with pytest.raises(ValueError, match="path of this machine"):
        TOOL["normalise"](made)


def test_a_page_has_outputs_figures_and_links():
    made = notebook("# Figure: A line.\nplot()", "print(2)")
    drawn = '<svg><style></style><path style="stroke: #1d6fb8"/><text style="font-size: 10px">z</text><image/></svg>'
    made.cells[1].outputs = [nbformat.v4.new_output("display_data", {"image/svg+xml": drawn})]
    made.cells[2].outputs = [nbformat.v4.new_output("stream", text="2\n")]
    text, figures = TOOL["page"](made, "line")
    (figure,) = figures.values()
    assert list(figures) == ["line-1.svg"]
    inverted = "@media (prefers-color-scheme: dark){image{filter:invert(1)}}"
    dark = rf'@media \(prefers-color-scheme: dark\){{(.*)}}{re.escape(inverted)}</style><path style="stroke: #1d6fb8"/><text style="(.*?); font'
    rules, text_colour = re.search(dark, figure).groups()
    assert '[style*="stroke: #1d6fb8"]{stroke:#' in rules
    assert f'[style*="{text_colour}"]{{fill:#' in rules
    assert "See [rules](../rules.md)." in text
    assert "![A line.](line-1.svg)" in text
    assert "```python\nprint(2)\n```\n\n```text\n2\n```" in text
    made.cells[1].source = "plot()"
    with pytest.raises(ValueError, match="no '# Figure"):
        TOOL["page"](made, "line")
