"""Source is used only if it is what runs, and gives the same function again."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.convert.source import SourceError, build, tree_of
from tieless.errors import UnreachedWarning

WRITTEN = '''
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def forward(self, x):
        """Text over
            several lines."""
        return F.relu(x) * {factor}
'''


def test_a_file_that_was_changed_since_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    path = tmp_path / "changed_since.py"
    path.write_text(WRITTEN.format(factor=2), encoding="utf-8")
    import changed_since

    path.write_text(WRITTEN.format(factor=3), encoding="utf-8")
    with pytest.raises(SourceError, match="not what it was compiled from"):
        tree_of(changed_since.Net.forward)
    model = nn.Sequential(nn.ReLU(), changed_since.Net())
    x = torch.linspace(-1, 1, 5)
    expected = model(x)
    with pytest.warns(
        UnreachedWarning, match=r"1: relu, in forward \(its source is not what it was compiled from: import it"
    ):
        tl.convert(model, backward="constant")
    assert torch.equal(model(x), expected)
    assert [one.name for one in tl.conversion(model).converted] == ["0"]


TYPED = """
from torch import nn
import torch.nn.functional as F

def tail(self, x):
    return F.softplus(x)

class Net(nn.Module):
    def forward(self, x):
        return F.relu(x)
"""


def test_code_without_a_source_is_named_and_what_is_beside_it_converted():
    typed = {"__name__": "typed_at_a_prompt"}
    exec(compile(TYPED, "<prompt>", "exec"), typed)  # noqa: S102  as if it had been typed

    class Beside(nn.Module):
        tail = typed["tail"]

        def forward(self, x):
            return self.tail(F.relu(x))

    model = nn.Sequential(typed["Net"](), Beside())
    x = torch.linspace(-1, 2, 5, requires_grad=True)
    expected = model(x)
    with pytest.warns(UnreachedWarning, match="its source is not there to be read: define it in a file"):
        tl.convert(model, backward="constant(0.5)")
    assert torch.equal(model(x), expected)
    done = tl.conversion(model)
    assert [one.name for one in done.converted] == ["1.relu@1"]
    assert [(one.name, one.what, one.where) for one in done.unreached] == [
        ("0", "relu", "in forward"),
        ("1", "softplus", "in tail"),
    ]
    # What is sent down: 0.5 of the derivative of softplus, where the first relu is PyTorch's.
    (sent,) = torch.autograd.grad(model(x).sum(), x)
    torch.testing.assert_close(sent, 0.5 * torch.sigmoid(expected.exp().sub(1).log().detach()) * (x > 0))


def outer():
    """A function with everything that a definition can have."""
    offset = 3

    def inner(a, /, b: int = 2, *rest, c: float = 4.0, d=None, **options) -> int:
        """Text over
        several lines.
        """
        total = sum(v for v in (a, b, c, *rest) if v) + offset
        return sum(map(lambda name: len(name) + total, options), d or total)  # noqa: C417  a function inside

    return inner


def test_what_is_built_again_is_the_same_function():
    function = outer()
    again = build(tree_of(function), function, {})
    assert again is not function
    for given, named in [((1,), {}), ((1, 5, 6), {"c": 0.5, "e": 3}), ((0,), {"d": 7})]:
        assert again(*given, **named) == function(*given, **named)
    assert again.__doc__ == function.__doc__
    assert again.__annotations__ == function.__annotations__
    assert again.__qualname__ == function.__qualname__
    assert again.__code__.co_firstlineno == function.__code__.co_firstlineno


def test_an_error_inside_points_at_the_line_that_was_written():
    class Failing(nn.Module):
        def forward(self, x):
            x = F.relu(x)
            raise ValueError(x)

    model = tl.convert(Failing(), backward="constant", strict=True)
    with pytest.raises(ValueError, match="tensor") as failure:
        model(torch.ones(1))
    last = failure.traceback[-1]
    assert str(last.path) == __file__
    assert last.lineno == Failing.forward.__code__.co_firstlineno + 1  # pytest counts lines from 0


def test_lambdas_have_no_definition():
    class Short(nn.Module):
        forward = lambda self, x, scale=1: F.relu(x) * scale  # noqa: E731

    with pytest.warns(UnreachedWarning, match="relu"):
        tl.convert(nn.Sequential(nn.ReLU(), Short()), backward="constant")


class Patched(nn.Module):
    pass


class Attribute(nn.Module):
    def __init__(self):
        super().__init__()
        # fmt: off
        self.act = lambda x: 2 * torch.relu(x); self.scale = 2  # noqa: E702
        # fmt: on

    def forward(self, x):
        return self.act(x) * self.scale


if True:
    # fmt: off
    Patched.forward = lambda self, x: torch.relu(x); TWO = 2  # noqa: E702
    # fmt: on


@pytest.mark.parametrize("net", [Patched, Attribute])
def test_a_lambda_on_a_line_with_another_statement_has_no_definition_either(net):
    function = net.forward if net is Patched else net().act
    with pytest.raises(SourceError, match="no plain function"):
        tree_of(function)
    model = nn.Sequential(net(), nn.ReLU())
    assert [one.name for one in tl.conversion(model).found][-1] == "1"
