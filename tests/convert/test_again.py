"""Code is read again when it has changed, and no class or model of others is kept alive."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tieless as tl

X = torch.tensor([-1.0, 2.0], dtype=torch.float64)


def added(x):
    return F.relu(x)


def added_later(x):
    return torch.tanh(x)


ACT = F.relu
TABLE = {"act": abs}


class Base(nn.Module):
    act = staticmethod(F.relu)
    scale = 1.0

    def inner(self, x):
        return x

    @property
    def outer(self):
        return F.silu

    def forward(self, x, act=torch.sigmoid):
        return self.inner(ACT(self.act(x)) + added(x)) + self.outer(x) + act(x) + TABLE["act"](x) * self.scale


class Net(Base):
    pass


def of_forward(patch):
    def forward(self, x):
        return F.relu(x) + 10

    patch.setattr(Base, "forward", forward)


def of_forward_of_subclass(patch):
    def forward(self, x):
        return F.elu(x) + 10

    patch.setattr(Net, "forward", forward, raising=False)


def of_method(patch):
    patch.setattr(Base, "inner", added_method)


def added_method(self, x):
    return F.hardtanh(x)


def of_class_attribute(patch):
    patch.setattr(Base, "act", staticmethod(torch.tanh))


def of_property(patch):
    patch.setattr(Base, "outer", property(lambda self: F.mish))


def of_default(patch):
    patch.setattr(Base.forward, "__defaults__", (torch.relu,))


def of_code(patch):
    patch.setattr(added, "__code__", added_later.__code__)


def of_helper(patch):
    patch.setitem(globals(), "added", added_later)


def of_global(patch):
    patch.setitem(globals(), "ACT", F.gelu)


def in_place(patch):
    patch.setitem(TABLE, "act", F.relu)


CHANGES = [
    *(of_forward, of_forward_of_subclass, of_method, of_class_attribute, of_property, of_default, of_code, of_helper),
    *(of_global, in_place),
]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.filterwarnings("ignore::tieless.errors.UnreachedWarning")
def test_a_conversion_sees_code_as_it_is_now(change, monkeypatch):
    tl.revert(tl.convert(Net(), backward="constant(0.5)"))
    before = tl.conversion(Net())
    with monkeypatch.context() as patched:
        change(patched)
        model = Net()
        expected = model(X)
        now = tl.conversion(model)
        assert (now.left, now.unreached) != (before.left, before.unreached)
        torch.testing.assert_close(tl.convert(model, backward="constant(0.5)")(X), expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(tl.revert(model)(X), expected, rtol=0, atol=0)
    assert tl.conversion(Net()) == before


def test_a_converted_model_that_is_converted_again_sees_it_too(monkeypatch):
    model = tl.convert(nn.Sequential(Net()), {"0.relu@1": "constant(0.5)"})
    of_forward_of_subclass(monkeypatch)
    tl.convert(model, backward="constant(0.5)", strict=True)
    torch.testing.assert_close(model(X), F.elu(X) + 10)
    assert [one.name for one in tl.conversion(model).converted] == ["0.elu@1"]
    assert type(tl.revert(model)[0]) is Net


def test_nobodys_class_or_model_is_kept_alive():
    class Mine(nn.ReLU):
        pass

    class Block(nn.Module):
        def __init__(self, act):
            super().__init__()
            self.act = act

        def forward(self, x):
            return F.relu(self.act(x))

    model = tl.convert(Block(Mine()), backward="constant(0.5)")
    kept = [weakref.ref(one) for one in (model, model.act, Mine, Block, type(model), type(model.act))]
    tl.revert(model)
    del model, Mine, Block
    gc.collect()
    assert [one() for one in kept] == [None] * len(kept)


def test_a_converted_module_keeps_its_class_between_conversions():
    """Compilers compile anew for a class that is new."""
    model = tl.convert(Base(), {"relu@1": "constant(0.5)"})
    cls = type(model)
    assert type(tl.convert(model, {"relu@1": "constant(0.25)"})) is cls
    assert type(tl.convert(Base(), {"relu@1": "constant"})) is cls
