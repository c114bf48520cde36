"""The migration pages: each of our lines runs, and does what their line does, where their package is there."""

import ast
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import tieless as tl
from tests.compat.neurons import importable
from tests.conformance.loading import FOLDER, load

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "migration"
ROW = re.compile(r"^\| `(.+)` \| `(.+)` \|$", re.MULTILINE)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def table(page):
    text = (PAGES / f"{page}.md").read_text(encoding="utf-8")
    text = text[text.index("| Their line | Our line |") :]
    lines = text.partition("\n\n")[0]
    rows = ROW.findall(lines)
    assert len(rows) == lines.count("\n|") - 1, f"a row of {page}.md is not two lines of code"
    return rows


LINES = [(page.stem, theirs, ours) for page in sorted(PAGES.glob("*.md")) for theirs, ours in table(page.stem)]


@contextlib.contextmanager
def their_names(page) -> Iterator[dict[str, object] | None]:
    """Names that a user of the library has imported; ``None`` where it cannot be had."""
    if page == "larq":  # needs TensorFlow
        yield None
    elif page == "autograd-function":
        yield {"torch": torch}
    elif page == "snntorch":
        with importable("snntorch"):
            from snntorch import surrogate

            yield {"surrogate": surrogate, "torch": torch}
    elif load(page) is None:
        pytest.skip(f"{page} was not fetched: tools/get-peers")
    elif page == "spikingjelly":
        yield dict(zip(("surrogate", "quantize"), load(page), strict=True))
    elif page == "norse":
        yield {"threshold": load(page)[0].threshold}
    elif page == "brevitas":
        yield {name.removesuffix("_impl"): value for name, value in vars(load(page)[0]).items()}
    else:
        yield {"fg": load(page)[0]}


def sent(value, x, grad_output, act):
    """Value and gradient that come back through a line: a rule, a context for one, an activation, or a tensor that was computed from ``x``."""
    if isinstance(value, tl.Rule):
        value = tl.untie(x, "relu", value)
    elif hasattr(value, "__enter__"):
        with value:
            value = act(x)
    elif callable(value):
        value = value(x)
    return value.detach(), torch.autograd.grad(value, x, grad_output.to(value.dtype))[0]


def our_names(page):
    names = {"__name__": page}
    for block in BLOCK.findall((PAGES / f"{page}.md").read_text(encoding="utf-8")):
        exec(compile(block, page, "exec"), names)  # noqa: S102 - our own pages
    return names


def inputs(dtype):
    torch.manual_seed(0)
    # Away from 0 and from edges, where libraries differ, and one element in the reach of narrow surrogates.
    x = torch.cat([torch.randn(60).mul(1.5), torch.tensor([0.01, -0.02, 0.043])])
    return x.to(dtype).requires_grad_(), torch.randn(63).to(dtype)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of theirs
@pytest.mark.parametrize(("page", "theirs", "ours"), LINES, ids=[f"{page}: {theirs}" for page, theirs, _ in LINES])
def test_our_line_does_what_their_line_does(page, theirs, ours):
    names = our_names(page)
    x, grad_output = inputs(torch.float64)
    value = eval(ours, {**names, "x": x})  # noqa: S307 - our own pages
    rule = value if isinstance(value, tl.Rule) else getattr(value, "rule", None)
    value, gradient = sent(value, x, grad_output, None)
    with their_names(page) as there:
        if there is None:
            assert gradient.isfinite().all()
            return
        x = x.detach().requires_grad_()
        line = eval(theirs, {**there, "x": x, "grad_output": grad_output})  # noqa: S307 - our own pages
        if page == "autograd-function":
            torch.testing.assert_close(gradient, line.detach(), rtol=1e-6, atol=1e-12)
            return
        if rule is not None and any(part.draws for part in rule.parts()):
            return  # they are there; tests/conformance gives both the same numbers
        act = there["fg"].Activation("ReLU") if page == "freegrad" else None
        their_value, their_gradient = sent(line, x, grad_output, act)
    torch.testing.assert_close(value, their_value.to(value.dtype), rtol=1e-6, atol=0)
    # In units of the largest, since snnTorch computes in float32 what it is given in float64.
    torch.testing.assert_close(gradient, their_gradient, rtol=1e-6, atol=1e-6 * float(their_gradient.abs().max()))


def test_each_page_has_a_table():
    assert {page for page, _, _ in LINES} == {
        *("autograd-function", "brevitas", "freegrad", "larq", "norse", "snntorch", "spikingjelly")
    }


def test_their_surrogates_are_all_in_the_tables():
    written = {
        name for page, line, _ in LINES if page in {"snntorch", "spikingjelly"} for name in re.findall(r"\w+", line)
    }
    if load("spikingjelly") is None:
        pytest.skip("spikingjelly was not fetched: tools/get-peers")
    surrogates = load("spikingjelly")[0]
    base = surrogates.SurrogateFunctionBase
    theirs = {n for n, v in vars(surrogates).items() if isinstance(v, type) and issubclass(v, base) and v is not base}
    assert theirs - written == {"PoissonPass"}  # whose forward draws


def test_their_lines_are_written_as_their_users_write_them():
    """Brevitas' functions are compared by their implementations; these are the names they are imported by."""
    if load("brevitas") is None:
        pytest.skip("brevitas was not fetched: tools/get-peers")
    tree = ast.parse((FOLDER / "brevitas" / "function" / "ops_ste.py").read_text(encoding="utf-8"))
    public = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {line.partition("(")[0] for page, line, _ in LINES if page == "brevitas"} <= public
