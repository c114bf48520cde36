"""Run the notebooks and store their outputs, or write them as pages of the site.

python tools/notebooks.py run [NAME ...]
python tools/notebooks.py pages

A comment "# Figure: ..." on the first line of a cell describes the figure that the cell draws.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

from tieless.report.rule_plot import themed

ROOT = Path(__file__).parents[1]
SOURCES = ROOT / "notebooks"
PAGES = ROOT / "docs" / "notebooks"
SVG = "image/svg+xml"
INVERTED = "@media (prefers-color-scheme: dark){image{filter:invert(1)}}"


def read(path: Path) -> NotebookNode:
    """A notebook with its stored outputs."""
    return nbformat.read(path, as_version=4)


def digest(notebook: NotebookNode) -> str:
    """The hash of what a notebook computes: its code. Text can change without it."""
    cells = "\0".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    return hashlib.sha256(cells.encode()).hexdigest()


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Run all cells in a folder, in a kernel of their own; raise nbclient's CellExecutionError where one raises."""
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {
            "IPYTHONDIR": home,
            "MATPLOTLIBRC": str(SOURCES / "matplotlibrc"),
            "OMP_NUM_THREADS": "1",  # the networks are small, and sums do not depend on the number of cores
            "PYTHONWARNINGS": "ignore:IProgress not found",  # tqdm would draw its bars by a widget
        }
        # Over sockets of the file system: others on the machine can listen to TCP.
        sockets = Config(KernelManager={"transport": "ipc", "connection_file": str(Path(home) / "kernel.json")})
        client = NotebookClient(
            notebook,
            config=sockets,
            coalesce_streams=True,
            kernel_name="python3",
            record_timing=False,
            resources={"metadata": {"path": str(folder)}},
            timeout=600,
        )
        client.execute(env=environment)


def normalise(notebook: NotebookNode) -> None:
    """Leave of outputs and metadata what the same sources give on each machine, but for measured numbers."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    told = {"kernelspec": kernel, "language_info": {"name": "python"}, "tieless": {"outputs_of": digest(notebook)}}
    notebook.metadata = nbformat.from_dict(told)
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", NotebookNode()
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if SVG in data:
                data[SVG] = re.sub(r"\s*<metadata>.*?</metadata>", "", data[SVG], flags=re.DOTALL)
                data.pop("text/plain")
            written = output.get("text") or data.get("text/plain", "")
            if str(ROOT) in written or tempfile.gettempdir() in written:
                raise ValueError(f"Cell {number} prints a path of this machine: {written}")


def run(names: list[str]) -> None:
    """Execute notebooks, all if none is named, and store their outputs in their files."""
    for path in [SOURCES / f"{name}.ipynb" for name in names] or sorted(SOURCES.glob("*.ipynb")):
        notebook = read(path)
        before = os.times()
        with tempfile.TemporaryDirectory() as folder:
            execute(notebook, Path(folder))
        normalise(notebook)
        nbformat.write(notebook, path)
        after = os.times()
        seconds = sum(after[:4]) - sum(before[:4])
        print(f"{path.name}: {seconds:.0f} CPU seconds, {path.stat().st_size / 1000:.0f} kB")


def on_page(figure: str) -> str:
    """A figure of a notebook that follows the theme of the site: images, which are gray by matplotlibrc, are inverted where it is dark.

    Matplotlib does not write that a text is black.
    """
    figure = themed(re.sub(r'<text style="(?![^"]*fill)', '<text style="fill: #000000; ', figure))
    return figure.replace("</style>", f"{INVERTED}</style>", 1) if "<image" in figure else figure


def page(notebook: NotebookNode, name: str) -> tuple[str, dict[str, str]]:
    """The page of a notebook in Markdown, and its figures: names of files with what stands in them."""
    parts, figures = [], {}
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            parts.append(cell.source.replace("](../docs/", "](../"))
            continue
        parts.append(f"```python\n{cell.source}\n```")
        for output in cell.outputs:
            data = output.get("data", {})
            if SVG in data:
                described = re.match(r"# Figure: (.+)", cell.source)
                if not described:
                    raise ValueError(
                        f"{name}: no '# Figure: ...' on the first line of a cell that draws: {cell.source}"
                    )
                file = f"{name}-{len(figures) + 1}.svg"
                figures[file] = on_page(data[SVG])
                parts.append(f"![{described[1]}]({file})")
            else:
                written = output.get("text") or data["text/plain"]
                parts.append(f"```text\n{written.rstrip()}\n```")
    top, rest = parts[0], parts[1:]
    told = f"This page is a notebook with its outputs: [{name}.ipynb]({name}.ipynb), to be run in Jupyter."
    return "\n\n".join([top, told, *rest, ""]), figures


def pages() -> None:
    """Write each notebook as a page, with its figures and the notebook itself beside it."""
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir()
    for path in sorted(SOURCES.glob("*.ipynb")):
        text, figures = page(read(path), path.stem)
        for file, content in {f"{path.stem}.md": text, **figures}.items():
            (PAGES / file).write_text(content, encoding="utf-8")
        shutil.copy(path, PAGES)


def main() -> int:
    """Do the task that the command line names."""
    match sys.argv[1:]:
        case ["run", *names]:
            run(names)
        case ["pages"]:
            pages()
        case _:
            sys.exit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main())
