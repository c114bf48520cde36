"""Calls of activations in the code of modules: every spelling is reached, and nothing else about the code changes.

The judge is the same code with the functions that it calls exchanged by hand.
"""

import copy
import functools
import pickle
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.functional import silu as imported_by_name
from torch.utils.checkpoint import checkpoint

import tieless as tl
from tieless.convert import converted
from tieless.errors import ConversionError, UnreachedWarning

X = torch.linspace(-3, 3, 24, dtype=torch.float64).reshape(4, 6)


def helper(x):
    return x * torch.sigmoid(x)


def outer_helper(x):
    return helper(x) + 1


def doubled(forward):
    @functools.wraps(forward)
    def wrapper(self, *args, **keywords):
        return 2 * forward(self, *args, **keywords)

    return wrapper


class Function(nn.Module):
    def forward(self, x):
        return F.relu(x)


class Torch(nn.Module):
    def forward(self, x):
        return torch.relu(x)


class LongName(nn.Module):
    def forward(self, x):
        return torch.nn.functional.relu(x)


class Method(nn.Module):
    def forward(self, x):
        return (x + 0).relu()


class ByName(nn.Module):
    def forward(self, x):
        return imported_by_name(x)


class Imported(nn.Module):
    def forward(self, x):
        import torch.nn.functional as inside

        return inside.gelu(x)


class NamedInput(nn.Module):
    def forward(self, x):
        return F.relu(input=x)


class Given(nn.Module):
    def forward(self, x):
        return checkpoint(F.relu, x, use_reentrant=True)


class InLambda(nn.Module):
    def forward(self, x):
        return checkpoint(lambda h: F.relu(h) + 1, x, use_reentrant=True)


class InCheckpoint(nn.Module):
    def _inner(self, h):
        return F.gelu(h, approximate="tanh")

    def forward(self, x):
        return checkpoint(self._inner, x, use_reentrant=False)


class InHelper(nn.Module):
    def forward(self, x):
        return outer_helper(x)


class InHelperGiven(nn.Module):
    def forward(self, x):
        return checkpoint(helper, x, use_reentrant=True)


class InComprehension(nn.Module):
    def forward(self, x):
        return sum([F.elu(part, 0.5) for part in (x, 2 * x)])


class Branch(nn.Module):
    def forward(self, x):
        return F.relu(x) if x.sum() > 1000 else torch.tanh(x)


class Loop(nn.Module):
    def forward(self, x):
        for _ in range(3):
            x = F.leaky_relu(x, 0.1) - 0.2
        return x


class Keywords(nn.Module):
    def forward(self, x, *rest, scale=None, **options):
        y = x.sigmoid()
        return y if scale is None else y * scale


class Decorated(nn.Module):
    @doubled
    def forward(self, x):
        return F.relu(x)


class Static(nn.Module):
    def forward(self, x):
        act = F.relu
        return act(x)


class Base(nn.Module):
    def forward(self, x):
        return self.activate(x)

    def activate(self, x):
        return F.relu(x)


class Derived(Base):
    def activate(self, x):
        return x.tanh()


class Super(Base):
    def forward(self, x):
        return super().activate(x) + torch.tanh(x)


REACHED = [
    *(Function, Torch, LongName, Method, ByName, Imported, NamedInput, Given, InLambda, InCheckpoint, InHelper),
    *(InHelperGiven, InComprehension, Branch, Loop, Keywords, Decorated, Static, Base, Derived, Super),
]

HALF = 0.5


class Half(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z, y):
        return y.clone()

    @staticmethod
    def backward(ctx, grad_output):
        return HALF * grad_output, None


class ByHand(torch.overrides.TorchFunctionMode):
    """While it is entered, PyTorch's functions themselves send back half of the feedback."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        known = getattr(func, "__name__", "")
        if known.rstrip("_") not in {"relu", "gelu", "silu", "sigmoid", "tanh", "elu", "leaky_relu"}:
            return func(*args, **kwargs)
        z = args[0] if args else kwargs["input"]
        with torch.no_grad():
            y = func(*args, **kwargs)
        return Half.apply(z, y)


def run(model, mode=None):
    x = X.clone().requires_grad_()
    if mode is None:
        y = model(x)
        y.square().sum().backward()
    else:
        with mode:
            y = model(x)
        y.square().sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("net", REACHED)
def test_every_spelling_is_reached(net, monkeypatch):
    model = net()
    with monkeypatch.context() as patched:
        # Such a mode does not last until a checkpoint computes again.
        patched.setitem(globals(), "checkpoint", lambda function, x, use_reentrant: function(x))
        (y, native), (_, expected) = run(model), run(net(), ByHand())
    assert not torch.allclose(native, expected)
    tl.convert(model, backward=f"constant({HALF})", strict=True)
    assert not tl.conversion(model).left
    after, found = run(model)
    torch.testing.assert_close(after, y, rtol=1e-12, atol=1e-14)  # gelu and silu have kernels of their own
    torch.testing.assert_close(found, expected)
    tl.revert(model)
    assert type(model) is net
    assert torch.equal(run(model)[1], native)


@pytest.mark.parametrize("net", REACHED)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_a_copy_is_converted_too_and_reverts_by_itself(net, again):
    model = tl.convert(net(), backward=f"constant({HALF})")
    other = again(model)
    assert torch.equal(run(other)[1], run(model)[1])
    tl.revert(other)
    assert type(other) is net
    assert torch.equal(run(other)[1], run(net())[1])
    assert not torch.allclose(run(model)[1], run(net())[1])


@pytest.mark.parametrize("net", [n for n in REACHED if n is not Branch])
def test_it_compiles_whole(net):
    model = tl.convert(net(), backward=f"constant({HALF})")
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for one, other in zip(run(compiled), run(model), strict=True):
        torch.testing.assert_close(one, other)


class Numbered(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x):
        x = F.relu(self.first(x))
        x = torch.tanh(self.second(x))
        return F.relu(x - 0.1)


def test_calls_are_named_by_function_and_number_and_tell_their_line():
    found = tl.conversion(nn.Sequential(Numbered())).left
    assert [one.name for one in found] == ["0.relu@1", "0.tanh@1", "0.relu@2"]
    first = Numbered.forward.__code__.co_firstlineno
    assert [one.where for one in found] == [f"{__file__}:{first + line}" for line in (1, 2, 3)]


def test_one_of_two_calls_can_be_converted_and_another_later():
    model = Numbered().double()
    tl.convert(model, {"relu@2": "constant(0.5)"})
    assert [one.name for one in tl.conversion(model).converted] == ["relu@2"]
    tl.convert(model, {"tanh@1": "full_jam"})
    assert [one.name for one in tl.conversion(model).converted] == ["tanh@1", "relu@2"]
    tl.convert(model, {"relu@2": None})
    assert [(one.name, one.backward) for one in tl.conversion(model).converted] == [("tanh@1", "full_jam")]
    tl.convert(model, {"tanh@1": None})
    assert type(model) is Numbered


class Settings(nn.Module):
    """Everything that a record of one run would fix."""

    def __init__(self):
        super().__init__()
        self.slope, self.calls = 0.1, 0

    def forward(self, x, scale=None):
        self.calls += 1
        x = F.leaky_relu(x, self.slope)
        x = F.dropout(x, 0.5, self.training)
        return x if scale is None else x * scale


def test_attributes_modes_and_optional_arguments_stay_alive():
    model = tl.convert(Settings(), backward="constant")
    model.eval()
    assert torch.equal(model(X), F.leaky_relu(X, 0.1))
    model.slope = 0.3
    assert torch.equal(model(X), F.leaky_relu(X, 0.3))
    assert torch.equal(model(X, scale=2), 2 * F.leaky_relu(X, 0.3))
    model.train()
    assert (model(X) == 0).float().mean() > 0.2
    assert model.calls == 4


class InPlace(nn.Module):
    """A residual branch that sees what the activation beside it has written."""

    def __init__(self, activate):
        super().__init__()
        self.activate = activate

    def forward(self, x):
        h = x * 1
        return self.activate(h) + 10 * h


class InPlaceCalls(nn.Module):
    def forward(self, x):
        g, h, i = x * 1, x * 2, x * 3
        return F.relu(g, inplace=True) + g + torch.tanh_(h) + h + i.sigmoid_() + i


@pytest.mark.parametrize("rule", ["constant(0.5)", "rectangular(-1, 1)", "triangular(2)", "tied"])
@pytest.mark.parametrize(
    "make",
    [lambda: InPlace(nn.ReLU(inplace=True)), lambda: InPlace(F.relu_), InPlaceCalls],
    ids=["module", "attribute", "calls"],
)
def test_what_writes_in_place_still_does(make, rule):
    model = make()
    y, native = run(model)
    tl.convert(model, backward=rule)
    after, gradient = run(model)
    assert torch.equal(after, y)
    assert torch.equal(gradient, native) == (rule == "tied")


def test_a_forward_can_be_exchanged_too():
    model = tl.convert(Numbered().double(), backward="rectangular", forward="heaviside")
    assert set(model(X).unique().tolist()) <= {0.0, 1.0}
    tl.convert(model, backward="full_jam")  # which says nothing of the forward: each has its own again
    assert torch.equal(model(X), tl.revert(copy.deepcopy(model))(X))


class WithOut(nn.Module):
    def forward(self, x):
        return torch.tanh(x.detach(), out=torch.empty_like(x)) + F.relu(x)


class Looked(nn.Module):
    def forward(self, x):
        return getattr(F, "relu")(x) + torch.tanh(x)  # noqa: B009


TABLE = {"relu": F.relu}


class Table(nn.Module):
    def forward(self, x):
        return TABLE["relu"](x) + torch.tanh(x)


class HiddenInList(nn.Module):
    def __init__(self):
        super().__init__()
        self.functions = [F.relu]

    def forward(self, x):
        return self.functions[0](x) + torch.tanh(x)


class HiddenInLambda(nn.Module):
    def __init__(self):
        super().__init__()
        self.function = lambda x: F.relu(x) + 1

    def forward(self, x):
        return self.function(x) + torch.tanh(x)


class Scripted(nn.Module):
    def __init__(self):
        super().__init__()
        with pytest.warns((DeprecationWarning, FutureWarning), match="script"):
            self.inner = torch.jit.script(Function())

    def forward(self, x):
        return self.inner(x) + torch.tanh(x)


@pytest.mark.parametrize("net", [WithOut, Looked, Table, HiddenInList, HiddenInLambda, Scripted])
def test_what_is_not_reached_is_named(net):
    model = net()
    with pytest.raises(ConversionError, match="convert cannot reach 1 activation"):
        tl.convert(model, backward="constant(0.5)", strict=True)
    assert type(model) is net
    with pytest.warns(UnreachedWarning, match="convert cannot reach 1 activation"):
        tl.convert(model, backward="constant(0.5)")
    done = tl.conversion(model)
    assert [one.kind for one in done.converted] == ["relu" if net is WithOut else "tanh"]
    assert len(done.unreached) == 1


def anything(name):
    return vars(F)[name]


class Unseen(nn.Module):
    """Model whose activation no reading of its code finds."""

    def forward(self, x):
        return anything("re" + "lu")(x) + torch.tanh(x)


def test_an_example_shows_what_reading_does_not_find():
    assert not tl.conversion(Unseen()).unreached
    model = nn.Sequential(nn.Linear(6, 6), nn.BatchNorm1d(6), Unseen(), nn.Dropout()).double()
    steps, state = model[1].num_batches_tracked, torch.get_rng_state()
    (unreached,) = tl.conversion(model, example=(X,)).unreached
    assert (unreached.name, unreached.what) == ("2", "relu")
    assert unreached.where.startswith(f"{__file__}:")
    assert model[1].num_batches_tracked is steps
    assert steps == 0
    assert torch.equal(torch.get_rng_state(), state)
    with pytest.warns(UnreachedWarning, match="relu"):
        tl.convert(model, backward="full_jam", example={"input": X})
    (again,) = tl.conversion(model, example=X).unreached
    assert again == unreached


@pytest.mark.parametrize("net", [n for n in REACHED if n is not Static])
def test_an_example_finds_nothing_more_where_all_is_reached(net):
    assert not tl.conversion(net(), example=X).unreached
    assert not tl.conversion(tl.convert(net(), backward="full_jam"), example=X).unreached


def test_threads_run_the_same_rule():
    model = tl.convert(Numbered().double(), backward="constant(0.5)")
    expected, found = run(model), []
    threads = [threading.Thread(target=lambda: found.append(run(copy.deepcopy(model)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(torch.equal(gradient, expected[1]) for _, gradient in found)


def test_calls_with_parameters_of_their_own_leave_nothing_behind_of_rules_they_had():
    class Net(nn.Module):
        slope = 0.3

        def forward(self, x):
            return F.leaky_relu(x, self.slope)

    net, x = Net(), torch.tensor([-1.0, 2.0], requires_grad=True)
    kept = len(converted._MET)
    for value in (1, 2, 3):
        tl.convert(net, backward=f"constant({value})")
        (sent,) = torch.autograd.grad(net(x).sum(), x)
        assert sent.tolist() == [value, value]
    assert len(converted._MET) == kept
