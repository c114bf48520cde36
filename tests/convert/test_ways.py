"""Every way to call an activation: it is converted, and sends what the rule sends, or it is named, with and without a run.

The judge is arithmetic: behind a net of one activation the gradient is that of ``constant(0.5)``, one half everywhere;
where the activation is beside others, what is named says so.
"""

import copy
import functools
import math
import operator
import pickle
import types

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import tieless as tl
from tests.convert import ways_elsewhere
from tieless.errors import ConversionError, UnreachedWarning

X = torch.linspace(-2.5, 3.5, 12, dtype=torch.float64).reshape(3, 4)

GLOBAL_MODULE = nn.ELU(0.5)
DEFAULT_MODULE = nn.SiLU()
PARTIAL = functools.partial(F.leaky_relu, negative_slope=0.3)
NAMESPACE = types.SimpleNamespace(act=F.silu)


class StaticMethod(nn.Module):
    @staticmethod
    def gate(x):
        return torch.sigmoid(x)

    def forward(self, x):
        return self.gate(x)


class StaticMethodOfClass(StaticMethod):
    def forward(self, x):
        return StaticMethod.gate(x) if x.dim() else type(self).gate(x)


class ClassMethod(nn.Module):
    @classmethod
    def gate(cls, x):
        return cls.inner(x)

    @staticmethod
    def inner(x):
        return F.relu(x)

    def forward(self, x):
        return self.gate(x)


class Property(nn.Module):
    @property
    def act(self):
        return F.relu

    def forward(self, x):
        return self.act(x)


class ClassFunction(nn.Module):
    act = staticmethod(F.silu)

    def forward(self, x):
        return self.act(x)


class ClassBuiltin(nn.Module):
    act = torch.tanh

    def forward(self, x):
        return self.act(x)


class ClassModule(nn.Module):
    act = nn.Softplus(2.0)

    def forward(self, x):
        return self.act(x)


class DefaultFunction(nn.Module):
    def forward(self, x, act=F.relu):
        return act(x)


class DefaultOnlyByName(nn.Module):
    def forward(self, x, *, act=DEFAULT_MODULE):
        return act(x)


class LocalImport(nn.Module):
    def forward(self, x):
        from torch.nn.functional import relu

        return relu(x)


class LocalImportOfModule(nn.Module):
    def forward(self, x):
        import torch.nn

        return torch.nn.functional.relu(x)


class LocalImportOfHelper(nn.Module):
    def forward(self, x):
        from tests.convert.ways_elsewhere import squashed as local

        return local(x)


class HelperOfModule(nn.Module):
    def forward(self, x):
        return ways_elsewhere.squashed(x)


class GlobalModule(nn.Module):
    def forward(self, x):
        return GLOBAL_MODULE(x)


class MadeInForward(nn.Module):
    def forward(self, x):
        return nn.ReLU()(x)


class MadeAndKept(nn.Module):
    def forward(self, x):
        act = nn.Sequential(nn.LeakyReLU(0.2, inplace=True))
        return act(x * 1)


class Operator(nn.Module):
    def forward(self, x):
        return torch.ops.aten.relu(x)


class Overload(nn.Module):
    def forward(self, x):
        return torch.ops.aten.leaky_relu.default(x, 0.3)


class Builtin(nn.Module):
    def forward(self, x):
        return torch._C._nn.silu(x)


class PartialOfGlobal(nn.Module):
    def forward(self, x):
        return PARTIAL(x)


class Namespace(nn.Module):
    def forward(self, x):
        return NAMESPACE.act(x)


class PrivateAttribute(nn.Module):
    def __init__(self):
        super().__init__()
        self._act = F.relu

    def forward(self, x):
        return self._act(x)


class Given(nn.Module):
    def forward(self, x):
        return ways_elsewhere.applied(F.relu, x)


class Mapped(nn.Module):
    def forward(self, x):
        return torch.stack(list(map(torch.sigmoid, x)))


class Closure(nn.Module):
    def forward(self, x):
        act = F.relu

        def inner(h):
            return act(h)

        return inner(x)


class InPlaceMethod(nn.Module):
    def forward(self, x):
        return (x * 1).relu_()


class Keywords(nn.Module):
    def forward(self, x):
        return F.hardtanh(input=x * 1, min_val=-0.5, max_val=2.0, inplace=True)


class SeveralLines(nn.Module):
    def forward(self, x):
        return (
            (x * 1)
            .clone()
            .relu()
        )  # fmt: skip


class Parametrized(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, dtype=torch.float64))
        nn.utils.parametrize.register_parametrization(self, "weight", nn.Identity())

    def forward(self, x):
        return F.relu(x * self.weight)


class NoWraps(nn.Module):
    @ways_elsewhere.without_wraps
    def forward(self, x):
        return self._act(x)

    def _act(self, x):
        return F.relu(x)


class Cooperative(nn.Module):
    def forward(self, x):
        return self._act(x)

    def _act(self, x):
        return F.relu(x)


class Super(Cooperative):
    def forward(self, x):
        return super().forward(x)

    def _act(self, x):
        return F.silu(x)


class WithEncode(nn.Module):
    def encode(self, x):
        return F.relu(x)

    def forward(self, x):
        return x


class MethodOfChild(nn.Module):
    def __init__(self):
        super().__init__()
        self.child = WithEncode()

    def forward(self, x):
        return self.child.encode(x)


class ByGetattr(nn.Module):
    def forward(self, x):
        return getattr(self, f"_{'act'}")(x)

    def act(self, x):
        return F.relu(x)

    _act = act


def in_compiled_forward():
    """Model whose class is made when it is asked for: torch.compile loads the compiler, which takes seconds."""

    class InCompiledForward(nn.Module):
        @functools.partial(torch.compile, backend="eager")
        def forward(self, x):
            return self._act(x)

        def _act(self, x):
            return F.relu(x)

    return InCompiledForward()


class InWrapperOfAnything(nn.Module):
    @ways_elsewhere.wrapped
    def forward(self, x):
        return self.act(x)

    @staticmethod
    def act(x):
        return F.relu(x)


class Scalar(nn.Module):
    """A class whose own attributes have the names that a conversion uses."""

    make, original, code = "make", "original", "code"

    def forward(self, x):
        return F.relu(x) if (self.make, self.original, self.code) == ("make", "original", "code") else None


CONVERTED = [
    *(
        StaticMethod,
        StaticMethodOfClass,
        ClassMethod,
        Property,
        ClassFunction,
        ClassBuiltin,
        ClassModule,
        DefaultFunction,
    ),
    *(DefaultOnlyByName, LocalImport, LocalImportOfModule, LocalImportOfHelper, HelperOfModule, GlobalModule),
    *(MadeInForward, MadeAndKept, Operator, Overload, Builtin, PartialOfGlobal, Namespace, PrivateAttribute, Given),
    *(Mapped, Closure, InPlaceMethod, Keywords, SeveralLines, Parametrized, NoWraps, Cooperative, Super, MethodOfChild),
    *(ByGetattr, in_compiled_forward, InWrapperOfAnything, Scalar),
]


def gradient(model):
    x = X.clone().requires_grad_()
    y = model(x)
    y.sum().backward()
    return y.detach(), x.grad


@pytest.mark.parametrize("net", CONVERTED)
def test_it_is_converted_and_reverted(net):
    model = net()
    y, native = gradient(model)
    assert not torch.equal(native, torch.full_like(X, 0.5))
    tl.convert(model, backward="constant(0.5)", strict=True)
    assert not tl.conversion(model).left
    after, sent = gradient(model)
    torch.testing.assert_close(after, y, rtol=1e-12, atol=1e-14)
    assert torch.equal(sent, torch.full_like(X, 0.5))
    assert torch.equal(gradient(copy.deepcopy(model))[1], sent)
    tl.revert(model)
    assert all(type(module).__module__ in {__name__, "torch.nn.utils.parametrize"} or "torch" in type(module).__module__
               for module in model.modules())  # fmt: skip
    assert torch.equal(gradient(model)[1], native)


@pytest.mark.parametrize("net", CONVERTED)
def test_a_run_shows_nothing_more(net):
    for model in (net(), tl.convert(net(), backward="frozen")):
        done = tl.conversion(model, example=X)
        assert not done.unreached
        assert done.ran
        assert str(done).endswith("unreached: nothing")


COMPILED = [n for n in CONVERTED if n not in {Mapped, PartialOfGlobal, MadeInForward, MadeAndKept}]


@pytest.mark.parametrize("net", COMPILED)
def test_it_compiles_whole(net):
    model = tl.convert(net(), backward="constant(0.5)")
    torch.compiler.reset()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.equal(gradient(compiled)[1], torch.full_like(X, 0.5))


@pytest.mark.parametrize("net", [MadeInForward, MadeAndKept])
def test_what_is_made_in_a_forward_is_never_compiled_wrongly(net):
    model = tl.convert(net(), backward="constant(0.5)")
    torch.compiler.reset()
    assert torch.equal(gradient(torch.compile(model, backend="eager"))[1], torch.full_like(X, 0.5))


class SwishFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(x)

    @staticmethod
    def backward(ctx, grad_output):
        (x,) = ctx.saved_tensors
        s = torch.sigmoid(x)
        return grad_output * s * (1 + x * (1 - s))


with pytest.warns((DeprecationWarning, FutureWarning), match="script"):
    swish_jit = torch.jit.script(ways_elsewhere.swish)

TABLE = {"swish": ways_elsewhere.swish, "relu": F.relu}
CLASSES = {"relu": (nn.ReLU, {"inplace": True})}


class OwnFunction(nn.Module):
    def forward(self, x):
        return SwishFunction.apply(x)


class Scripted(nn.Module):
    def forward(self, x):
        return swish_jit(x)


class ScriptedAttribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = swish_jit

    def forward(self, x):
        return self.act(x)


class CompiledAttribute(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = torch.compile(F.gelu, backend="eager")

    def forward(self, x):
        return self.act(x)


class TableOfFunctions(nn.Module):
    def forward(self, x):
        return TABLE["swish"](x)


class TableOfClasses(nn.Module):
    table = CLASSES

    def forward(self, x):
        cls, given = self.table["relu"]
        return cls(**given)(x * 1)


class ListOnSelf(nn.Module):
    def __init__(self):
        super().__init__()
        self.acts = [nn.Sequential(nn.Linear(4, 4), nn.Tanh())]

    def forward(self, x):
        return self.acts[0][1](x)


class LambdaOnSelf(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = lambda x: ways_elsewhere.squashed(x)  # noqa: PLW0108  a lambda is the point

    def forward(self, x):
        return self.act(x)


class ObjectOnSelf(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = ways_elsewhere.Callable()

    def forward(self, x):
        return self.act(x)


class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_forward_hook(lambda module, given, y: F.relu(y))

    def forward(self, x):
        return x * 1


class ByName(nn.Module):
    def forward(self, x):
        return getattr(F, self.name)(x)

    name = "relu"


class ByVars(nn.Module):
    def forward(self, x):
        return x.relu.__call__()


class ByTensorName(nn.Module):
    def forward(self, x):
        return getattr(x, "relu")()  # noqa: B009  a name as a string is the point


class CachedProperty(nn.Module):
    @functools.cached_property
    def act(self):
        return F.relu

    def forward(self, x):
        return self.act(x)


class InDecorator(nn.Module):
    @ways_elsewhere.decorated
    def forward(self, x):
        return x * 1


class PartialMethod(nn.Module):
    def _act(self, x, scale):
        return F.relu(x) * scale

    forward = functools.partialmethod(_act, scale=1)


class OutOperator(nn.Module):
    def forward(self, x):
        return torch.ops.aten.elu(x, 0.5)


class Erf(nn.Module):
    def forward(self, x):
        return x * 0.5 * (1 + torch.erf(x / 2**0.5))


class Where(nn.Module):
    def forward(self, x):
        return torch.where(x > 0, x, 0.1 * x)


class Clamp(nn.Module):
    def forward(self, x):
        return x.clamp(min=0)


class ClampInPlace(nn.Module):
    def forward(self, x):
        return (x * 1).clamp_min_(0)


class Product(nn.Module):
    def forward(self, x):
        return x * (x > 0).to(x.dtype)


class Maximum(nn.Module):
    def forward(self, x):
        return torch.maximum(x, torch.zeros_like(x))


class LeakyMaximum(nn.Module):
    def forward(self, x):
        return torch.max(x, 0.1 * x)


class FunctionInForward(nn.Module):
    def forward(self, x):
        class Own(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x):
                return x.relu()

            @staticmethod
            def backward(ctx, grad_output):
                return grad_output

        return Own.apply(x)


class OfDescriptor(nn.Module):
    @ways_elsewhere.Descriptor
    def forward(self, x):
        return F.relu(x)


class ByHandLogistic(nn.Module):
    def forward(self, x):
        return 1 / (1 + torch.exp(-x))


class MethodCaller(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = operator.methodcaller("relu")

    def forward(self, x):
        return self.act(x)


CLIPPED = operator.methodcaller("relu_")


class GlobalMethodCaller(nn.Module):
    def forward(self, x):
        return CLIPPED(x.clone())


class BoundForward(nn.Module):
    def __init__(self):
        super().__init__()
        self.act = nn.ELU()
        self.run = self.act.forward  # past the hooks

    def forward(self, x):
        return self.run(x)


class ForwardOfClass(nn.Module):
    def forward(self, x):
        return nn.PReLU.forward(self, x) if x.dim() == 7 else nn.ReLU6.forward(nn.ReLU6(), x)


class ThroughSuper(nn.LeakyReLU):
    def forward(self, x):
        return 2 * super().forward(x)


NAMED = [
    *(OwnFunction, Scripted, ScriptedAttribute, CompiledAttribute, TableOfFunctions, TableOfClasses, ListOnSelf),
    *(LambdaOnSelf, ObjectOnSelf, Hooked, ByName, ByVars, ByTensorName, CachedProperty, InDecorator, PartialMethod),
    *(OutOperator, Erf, Where, Clamp, ClampInPlace, Product, Maximum, LeakyMaximum, FunctionInForward),
    *(OfDescriptor, ByHandLogistic, MethodCaller, GlobalMethodCaller, BoundForward, ForwardOfClass, ThroughSuper),
]


@pytest.mark.parametrize("net", NAMED)
def test_it_is_named_and_left(net):
    model = nn.Sequential(nn.Tanh(), net())
    before = [(module, type(module), dict(vars(module))) for module in model.modules()]
    _, native = gradient(net())
    with pytest.raises(ConversionError, match=r"convert cannot reach \d activations? of Sequential.*: 1: ") as refusal:
        tl.convert(model, backward="frozen", strict=True)
    assert "\n" not in str(refusal.value)
    assert [(module, type(module), dict(vars(module))) for module in model.modules()] == before
    with pytest.warns(UnreachedWarning, match="1: "):
        tl.convert(model, backward="frozen")
    assert {one.name for one in tl.conversion(model).unreached} == {"1"}
    torch.testing.assert_close(gradient(model[1])[1], native)  # TorchScript's second run is another one's last bit


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.25], dtype=torch.float64))

    def forward(self, x):
        return F.prelu(x, self.slope) + torch.rrelu(x) + x.prelu(self.slope)


def test_functions_that_stay_are_left_with_their_reasons():
    model = nn.Sequential(nn.ReLU(), Functional())
    tl.convert(model, backward="frozen", strict=True)
    left = {one.name: (one.kind, one.why_left) for one in tl.conversion(model, example=X).left}
    assert left.keys() == {"1.prelu@1", "1.rrelu@1", "1.prelu@2"}
    assert left["1.prelu@1"] == ("prelu", "its slope learns, and a rule would send it no gradient")
    assert left["1.rrelu@1"] == ("rrelu", "its slope is drawn anew in each call")
    assert not tl.conversion(model, example=X).unreached
    with pytest.raises(ConversionError, match=r"1\.prelu@1 \(prelu\) cannot be converted: its slope learns"):
        tl.convert(model, {"1.prelu@1": "frozen"})


class Harmless(nn.Module):
    """Expressions that look like an activation and are none."""

    def __init__(self):
        super().__init__()
        self.sizes = {"relu": 3}
        self.loss = {"mse": ways_elsewhere.loss}

    def forward(self, x):
        norm = x.norm().clamp(min=1e-9)
        kept = torch.where(torch.arange(x.shape[-1]) < 3, x, 0.0)
        return F.relu(torch.softmax(kept / norm, -1)) + math.exp(0) * operator.itemgetter(0)(self.sizes and [1])


def test_nothing_else_is_named():
    tl.convert(Harmless(), backward="frozen", strict=True, example=X)


class Unseen(nn.Module):
    def forward(self, x):
        return eval("swish_jit" if self.training else "SwishFunction.apply")(x)  # noqa: S307  what nobody can read


def test_a_run_finds_what_reading_cannot():
    for model, kind in ((Unseen(), "sigmoid"), (Unseen().eval(), "sigmoid")):
        pair = nn.Sequential(nn.ReLU(), model)
        assert not tl.conversion(pair).unreached
        assert "with example= a run is looked at too" in str(tl.conversion(pair))
        (found,) = tl.conversion(pair, example=X).unreached
        assert found.name == "1"
        assert found.what == kind
        with pytest.raises(ConversionError, match="1: sigmoid"):
            tl.convert(pair, backward="frozen", strict=True, example=X)
        with pytest.raises(ConversionError, match=r"found nothing to convert.*sigmoid"):
            tl.convert(model, backward="frozen", example=X)


def test_an_example_that_does_not_run_is_one_line():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    with pytest.raises(ConversionError, match="Sequential does not run on the example: RuntimeError: ") as refusal:
        tl.convert(model, backward="frozen", example=torch.ones(3))
    assert "\n" not in str(refusal.value)
    assert type(model[1]) is nn.ReLU


def test_a_forward_of_an_activation_that_somebody_has_kept_is_seen_to_run_beside_the_rule():
    kept = types.SimpleNamespace()

    class Keeper(nn.Module):
        def forward(self, x):
            return vars(kept)["run"](x)

    model = nn.Sequential(nn.SiLU(), Keeper())
    kept.run = model[0].forward
    assert not tl.conversion(model).unreached
    tl.convert(model, {"0": "frozen"})
    (found,) = tl.conversion(model, example=X).unreached
    assert found.what == "silu"


def test_a_class_with_its_forward_around_that_of_an_activation_is_converted_as_a_whole():
    model = tl.convert(nn.Sequential(ThroughSuper()), {ThroughSuper: "frozen"}, strict=True, example=X)
    assert not gradient(model)[1].any()


class Lazy(nn.Module):
    """It keeps what it was given when it ran, converted."""

    act = kept = None

    def forward(self, x):
        if self.act is None:
            self.act, self.kept = F.relu, lambda h: F.relu(h)  # noqa: PLW0108  what is kept is a function of this code
        return self.act(x) + self.kept(x)


def test_what_somebody_kept_of_converted_code_is_as_it_was_after_reverting():
    model = tl.convert(Lazy(), backward="constant(0.5)")
    forward = model.forward
    assert torch.equal(gradient(model)[1], torch.ones_like(X))
    tl.revert(model)
    expected = 2 * (X > 0).to(X.dtype)
    assert torch.equal(gradient(model)[1], expected)
    assert torch.equal(gradient(forward)[1], expected)


def test_a_shallow_copy_has_calls_of_its_own():
    model = tl.convert(StaticMethod(), backward="constant(0.5)")
    tl.revert(copy.copy(model))
    assert torch.equal(gradient(model)[1], torch.full_like(X, 0.5))


def test_pickles_know_which_methods_others_call():
    model = pickle.loads(pickle.dumps(tl.convert(MethodOfChild(), backward="constant(0.5)")))
    assert torch.equal(gradient(model)[1], torch.full_like(X, 0.5))


class Registered(nn.Module):
    names = []  # noqa: RUF012  one list for all is what such a registry is

    def __init_subclass__(cls, *, name):
        cls.names.append(name)


class Entry(Registered, name="entry"):
    def forward(self, x):
        return F.relu(x)


class Final(type(nn.Module)):
    def __new__(cls, name, bases, content):
        if any(isinstance(base, Final) for base in bases):
            raise TypeError(f"nothing\nis derived from {bases[-1].__name__}")
        return super().__new__(cls, name, bases, content)


class Underived(nn.Module, metaclass=Final):
    def forward(self, x):
        return F.relu(x)


def test_registries_of_subclasses_see_nothing():
    model = tl.convert(Entry(), backward="constant(0.5)", strict=True)
    assert torch.equal(gradient(model)[1], torch.full_like(X, 0.5))
    assert Registered.names == ["entry"]


def test_a_class_that_nothing_can_be_derived_from_is_named():
    with pytest.warns(UnreachedWarning, match=r"relu@1 \(no class can be derived from Underived: nothing is derived"):
        tl.convert(nn.Sequential(nn.ReLU(), Underived()), backward="frozen")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_code_that_fx_has_generated_is_read():
    class Net(nn.Module):
        def forward(self, x):
            return torch.relu(x)

    model = torch.fx.symbolic_trace(Net())
    tl.convert(model, backward="constant(0.5)", strict=True)
    assert torch.equal(gradient(model)[1], torch.full_like(X, 0.5))
    tl.revert(model)
    assert torch.equal(gradient(model)[1], (X > 0).to(X.dtype))
