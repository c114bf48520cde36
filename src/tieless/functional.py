"""Operation ``untie``, which joins the halves of an activation: a forward and a backward rule (surrogate gradient)."""

from __future__ import annotations

import itertools
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, fx
from torch.autograd import forward_ad
from torch.jit._trace import TracerWarning

from tieless import ops, registry
from tieless._kinds import Halves, fake_mode_of, is_array, refuse_all_but_arrays, through_arrays
from tieless._tracing import GraphNames, known_when_traced, no_script
from tieless._underivable import NO_FORWARD_MODE, NO_PUSHED, underivable
from tieless.draws import FORWARD_STREAM, Random
from tieless.errors import RuleTypeError, TransformError
from tieless.forwards import Elementwise, FixedFunction, Forward, ForwardLike, forward as forward_of
from tieless.forwards.base import remembered_by_forward, without_graph
from tieless.grammar import shown
from tieless.kernels.layout import memory_order, same_layout
from tieless.kernels.reference import FORWARDS
from tieless.rules import Rule, RuleLike, Tied, rule as rule_of
from tieless.signature import real, same_shape
from tieless.slopes import Codes, Need, OwnSlope, SlopeForm, Window


def untie(z: Tensor, forward: ForwardLike, backward: RuleLike, *, generator: torch.Generator | None = None) -> Tensor:
    """Activation with a custom gradient (surrogate gradient): ``y = forward(z)``, ``grad_input = backward(...)``.

    Args:
        z: Pre-activation (input of the activation).
        forward: Spec, ``Forward`` or any elementwise callable.
        backward: Spec or ``Rule``.
        generator: Generator on the CPU from which a random rule or forward draws its key; torch's default generator
            unless given.
    Shape:
        ``z``: ``(...)``, float16, bfloat16, float32 or float64, on any device. Result and gradient: the shape, dtype,
        device and memory layout of ``z``. Nested, sparse and distributed tensors give results of their kind.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter is wrong; or ``z`` is no tensor,
            not floating, or of a kind that the halves cannot be applied to.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
        TransformError: a forward-mode derivative is needed (``torch.func.jvp``, ``forward_ad``), which no rule has; a
            half draws numbers and ``torch.func.vmap`` has no ``randomness=``, or a CUDA graph is captured without
            ``GraphKeys``; or ``torch.fx`` met a callable or a generator, which it cannot write into code.
        SecondDerivativeError: a second backward pass meets a rule that is not linear in ``grad_output``.
    Source:
        Troiano et al. 2025, doi:10.1016/j.neucom.2025.131178.
    Example:
        >>> z = torch.tensor([-0.3, 0.3, 2.0], requires_grad=True)
        >>> y = untie(z, "heaviside", "rectangular(-0.5, 0.5)")
        >>> y
        tensor([0., 1., 1.], grad_fn=<_DirectUntieBackward>)
        >>> y.sum().backward(); z.grad
        tensor([1., 1., 0.])
    """
    if torch.compiler.is_compiling():
        return _compiled(z, forward, backward, generator)
    return untie_joined(z, join(forward, backward), generator=generator)


class Part(NamedTuple):
    """Rule of a chain: its slope if it has one, the saved tensor that it needs, and whether it draws numbers.

    A ``constant`` rule multiplies each element of the gradient with a number that no derivative by ``z`` changes. A
    ``foreign`` rule runs a function that is not ours.
    """

    rule: Rule
    slope: SlopeForm | None
    saved: int | None
    draws: bool
    constant: bool
    foreign: bool


class Plan(NamedTuple):
    """Plan of a forward in one dtype, for direct calls of kernels.

    Args:
        value: Function ``z -> y``, unless kernels compute it.
        kernel: Kernel that makes ``y``, and in the same pass the first packed tensor, if there is any.
        arguments: Arguments of the kernel beside ``z``.
    """

    value: Callable[[Tensor], Tensor]
    kernel: str | None = None
    arguments: tuple[Any, ...] = ()


_ANCHOR, _INPUT, _OUTPUT, _FIRST_PACKED = range(4)
"""Places among the saved tensors, as ``_keep`` orders them."""

_PAIRS: weakref.WeakValueDictionary[str, Joined] = weakref.WeakValueDictionary()
"""Existing pairs by their names."""


def _names(text: str) -> Iterator[str]:
    """Name as given, and with a number behind it for pairs whose names have a new meaning since a registration."""
    return itertools.chain([text], (f"{text}, {number}" for number in itertools.count(2)))


class Joined:
    """Forward and rule that go together, with all properties of the pair computed once.

    Attributes:
        forward, rule: Halves of the pair.
        parts: Rules of the chain, each with the place of its saved tensor.
        packed: Windows and codes whose bits are stored, each once.
        keeps_input, keeps_output, draws: True if ``z`` or ``y`` is stored, and if a key is drawn.
        forward_is_random: True if the forward draws random numbers.
        linear: True if the gradient passed down is linear in the incoming one, so that it has a derivative.
        opaque, native: True if the forward is a callable, and if PyTorch's own derivative is enough.
        foreign: True if ``y`` is made by a function that is not ours.
        copies: True if that function may write to its input, or return tensors that other code holds.
        name: Text that all equal pairs have and no other pair. Compilers read it alone, and compare it at each later
            call.
    """

    def __init__(self, forward: Forward, rule: Rule) -> None:
        rules = rule.parts()
        slopes = tuple(part.slope(forward) for part in rules)
        needs: tuple[Need, ...] = tuple(part.needs(forward) for part in rules)
        self.forward = forward
        self.rule = rule
        self.packed = tuple(dict.fromkeys(need for need in needs if isinstance(need, (Window, Codes))))
        self.keeps_input = "input" in needs
        self.keeps_output = "output" in needs
        self.forward_is_random = forward.draws
        self.draws = self.forward_is_random or any(part.draws for part in rules)
        self.keeps_nothing = not any(needs)
        self.parts = tuple(
            Part(
                part,
                slope,
                self._place(need),
                part.draws,
                constant=part.family == "jam" if slope is None else not isinstance(need, str),
                foreign=not (part.is_ours() and (not isinstance(slope, OwnSlope) or slope.owner.is_ours())),
            )
            for part, slope, need in zip(rules, slopes, needs, strict=True)
        )
        self.linear = all(slope is not None or part.linear for part, slope in zip(rules, slopes, strict=True))
        self.native = isinstance(forward, Elementwise) and isinstance(rule, Tied)
        self.opaque = isinstance(forward, Elementwise)
        self.foreign = self.opaque or not (forward.is_ours() or type(forward).body is not Forward.body)
        self.copies = forward.changes if isinstance(forward, Elementwise) else self.foreign
        self._plans: dict[torch.dtype, Plan] = {}
        self.name = next(filter(self._may_be_called, _names(f"{forward} with {rule}")))
        first = _PAIRS.setdefault(self.name, self)
        # Held, so that the name leads to a pair as long as there is one.
        self._first = None if first is self else first

    def _may_be_called(self, name: str) -> bool:
        known = _PAIRS.get(name) or MET.get(name)
        return known is None or (known.forward, known.rule) == (self.forward, self.rule)

    def _place(self, need: Need) -> int | None:
        """Position of the tensor that a rule needs among the saved tensors; ``_keep`` puts them in this order."""
        if need is None:
            return None
        if isinstance(need, (Window, Codes)):
            return _FIRST_PACKED + self.packed.index(need)
        return _INPUT if need == "input" else _OUTPUT

    def __reduce__(self) -> tuple[object, ...]:
        return join, (self.forward, self.rule)

    def __fx_create_arg__(self, tracer: fx.Tracer) -> fx.Node:
        """Node in a graph of ``torch.fx``, which is source code in the end: the pair is made again from specs."""
        if self.opaque:
            raise TransformError(
                f"torch.fx cannot write the callable {self.forward} into its code. Name a forward, or give its tracer "
                "an is_leaf_module that keeps Activation as it is."
            )
        return tracer.create_node("call_function", join, (str(self.forward), str(self.rule)), {})

    def plan(self, dtype: torch.dtype) -> Plan:
        """Plan of the forward in ``dtype``, made at the first call; refuses parameters without a number in it."""
        plan = self._plans.get(dtype)
        if plan is None:
            plan = self._plans[dtype] = self._make_plan(dtype)
        return plan

    def _make_plan(self, dtype: torch.dtype) -> Plan:
        for half in (self.forward, *self.rule.parts()):
            half.meet_dtype(dtype)
        first, body = self.packed[0] if self.packed else None, self.forward.body(dtype)
        if body is None:
            return Plan(self.value)
        if isinstance(first, Codes):
            return Plan(self.value, "activate_codes", (*body, *first.edges(dtype)))
        if first is None and body[0] in ops.ONE_OPERATION:
            native, parameters = FORWARDS[body[0]], body[1]
            return Plan(partial(_native, native, parameters) if parameters else native)
        return Plan(self.value, "activate", (*body, None if first is None else first.edges(dtype)))

    def value(self, z: Tensor) -> Tensor:
        """Output ``y`` by PyTorch's operations, without a graph."""
        return self.asked(z) if self.foreign else self.forward.value(z)

    def asked(self, z: Tensor, key: Tensor | int | None = None) -> Tensor:
        """Output ``y`` of a function not ours, refused if it depends on parameters, which would get no gradient."""
        with torch.enable_grad():
            y = self.called(z.detach(), key)
        return _unlearned(y, self.forward)

    def called(self, z: Tensor, key: Tensor | int | None = None) -> Tensor:
        """Output ``y`` of a function that is not ours, which gets a copy: the memory of ``z`` belongs to other code."""
        given = z.clone() if self.copies else z
        version = None if given.is_inference() else given._version  # noqa: SLF001  (PyTorch documents it, underscore and all)
        y = self.sample(given, key) if self.forward_is_random else self.forward.value(given)
        if version is not None and version != given._version:  # noqa: SLF001
            raise RuleTypeError(
                f"The forward {self.forward} writes to z, which the rule needs as it was. Give a function that is not in place."
            )
        return _checked(y, z, self.forward)

    def sample(self, z: Tensor, key: Tensor | int | None) -> Tensor:
        """Output ``y`` of a forward that draws."""
        assert key is not None
        return self.forward.sample(z, Random(key, FORWARD_STREAM))

    def halves(self) -> Halves:
        """Properties that decide which kinds of tensors the pair can be applied to."""
        return Halves(
            name=f"{self.forward} with {self.rule}",
            elementwise=self.forward.elementwise and all(part.is_elementwise() for part in self.rule.parts()),
            trusted=not self.opaque,
            draws=self.draws,
            value=None if self.forward_is_random else self._value_of_floating,
        )

    def _value_of_floating(self, z: Tensor) -> Tensor:
        return self.value(_floating(z))

    def exported(self, z: Tensor) -> Tensor:
        """Output ``y`` in a program without rules: with PyTorch's derivative if that is the rule, else with none."""
        tied = isinstance(self.rule, Tied)
        if not self.foreign or self.forward_is_random:
            return self.forward.exported(z if tied else z.detach())
        with warnings.catch_warnings():
            # A trace has one shape, and this compares it: the program cannot get it wrong.
            warnings.simplefilter("ignore", TracerWarning)
            return self.called(z) if tied else self.asked(z)

    def traced_value(self, z: Tensor, key: Tensor | None) -> Tensor:
        """Output ``y`` for a compiler or a transform to trace, with the values that kernels give in eager mode."""
        if self.forward_is_random:
            return self.sample(z, key)
        body = self.forward.body(z.dtype)
        return self.value(z) if body is None else ops.activate(z, *body)


def _native(function: Callable[..., Tensor], parameters: tuple[float, ...], z: Tensor) -> Tensor:
    return function(z, *parameters)


def join(forward: ForwardLike, backward: RuleLike) -> Joined:
    """Both halves as values, checked to fit together.

    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or a parameter is wrong.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
    Example:
        >>> joined = join("relu", "full_jam")
        >>> joined.forward, joined.rule
        (Relu(), FullJam(minimum=0, maximum=1, replace='slope'))
    """
    return _join(forward_of(forward), rule_of(backward))


@remembered_by_forward
def _join(forward: Forward, backward: Rule) -> Joined:
    return Joined(forward, backward)


def untie_joined(z: Tensor, joined: Joined, *, generator: torch.Generator | None = None) -> Tensor:
    """Apply ``untie`` to halves that ``join`` has checked; modules call this, so that a spec is read once."""
    if not torch.compiler.is_compiling():
        return _untie(z, joined, generator)
    if joined.opaque:
        return _compiled(z, joined.forward, joined.rule, generator)
    return _in_graph(z, _kept(joined.name), generator)


# Dynamo traces the next functions, up to those that are marked to be taken as they are. It guards everything that it
# reads, and compares it at each later call: the attributes of a callable forward, and the state of the registries.


def _compiled(z: Tensor, forward: ForwardLike, backward: RuleLike, generator: torch.Generator | None) -> Tensor:
    function = forward.function if isinstance(forward, Elementwise) else forward
    if isinstance(function, (str, Forward, FixedFunction)):
        return _in_graph(z, _name(forward, backward, registry.generation), generator)
    name = _name_around(backward, registry.generation)
    if name == _NATIVE:
        y = _followed(_checked(function(z.clone()), z, function), z, function)
        return y if y.requires_grad else y.clone()
    # A copy, which is fused away: a function that writes to its input writes to the copy.
    y = _unlearned(_checked(function(z.detach().clone()), z, function), function)
    if name == _FOLLOWS:
        return _in_graph(z, _name(forward, backward, registry.generation), generator)
    return _around_in_graph(z, y, name, generator)


untie.__prepare_scriptable__ = untie_joined.__prepare_scriptable__ = no_script  # pyright: ignore[reportFunctionMemberAccess]

_NATIVE, _FOLLOWS = "native", "follows"
"""Names of no pair: a callable's own derivative is enough, or the rule follows that derivative."""


@known_when_traced
def _kept(name: str) -> str:
    return MET.name(name, _PAIRS[name])


@known_when_traced
def _name(forward: ForwardLike, backward: RuleLike, generation: str) -> str:
    forward = forward_of(forward)
    if isinstance(forward, Elementwise) and forward.changes:
        forward = Elementwise(_Weakly(forward.function))
    return _met(join(forward, backward))


class _Weakly:
    """Callable that compiled code does not keep alive: once it is gone, the graph is not run any more."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = weakref.ref(function)
        self.__name__ = str(Elementwise(function))

    def __call__(self, z: Tensor) -> Tensor:
        function = self._function()
        if function is None:
            raise TransformError(f"The forward {self.__name__} is gone, and what was compiled of it with it. Keep it.")
        return function(z)


@known_when_traced
def _name_around(backward: RuleLike, generation: str) -> str:
    """Name of a rule around a callable whose value the compiler has traced."""
    rule = rule_of(backward)
    if isinstance(rule, Tied):
        return _NATIVE
    try:
        return _met(Joined(_Traced(), rule))
    except _AskedForFunctionError:
        return _FOLLOWS


def _met(joined: Joined) -> str:
    return MET.name(joined.name, joined)


class _AskedForFunctionError(Exception):
    """Error of a rule that needs the forward's function or derivative."""


@dataclass(frozen=True, slots=True)
class _Traced(Forward):
    """Callable whose value a compiler has traced already."""

    def value(self, z: Tensor) -> Tensor:
        raise _AskedForFunctionError

    def derivative(self) -> None:
        raise _AskedForFunctionError

    def __str__(self) -> str:
        return "a callable"


def _in_graph(z: Tensor, name: str, generator: torch.Generator | None) -> Tensor:
    return _untie(z, MET[name], generator)


def _around_in_graph(z: Tensor, y: Tensor, name: str, generator: torch.Generator | None) -> Tensor:
    """``_in_graph`` for a ``y`` that exists already."""
    refuse_all_but_arrays(z, "A compiled callable forward")
    return _untie(z, MET[name], generator, y)


MET: GraphNames[Joined] = GraphNames(_in_graph, _around_in_graph)
"""Pairs that compilers have met."""


def _untie(z: Tensor, joined: Joined, generator: torch.Generator | None, traced: Tensor | None = None) -> Tensor:
    """Output ``y`` with its backward rule.

    Args:
        traced: Output ``y`` if a compiler has traced it already.
    """
    if not is_array(z):
        y = _of_another_kind(z, joined, generator)
        if y is not None:
            return y
    _floating(z)
    if joined.native:
        y = _followed(joined.called(z), z, joined.forward)
        return y if y.requires_grad or not joined.copies else y.clone()
    if ops.written_down():
        # A written program has no place for a rule. With a cut its gradient is missing; the forward's own derivative in
        # the place of the rule would pass unnoticed.
        joined.plan(z.dtype)
        return joined.exported(z) if traced is None else traced
    if generator is not None:
        _check_generator(generator)
    if ops.forward_mode() and forward_ad.unpack_dual(z).tangent is not None:
        raise TransformError(NO_FORWARD_MODE)  # before vmap complains of randomness, in vain
    if ops.direct(z):
        drawn = ops.draw_key_now(z, generator) if joined.draws else None
        made = (_made(z, joined, drawn, traced),) if joined.foreign or traced is not None else None
        return cast("tuple[Tensor, ...]", _DirectUntie.apply(z, drawn, joined, made))[0]
    joined.plan(z.dtype)
    key = ops.draw_key(z.detach(), generator) if joined.draws else None
    with fake_mode_of(z):
        made = _made(z, joined, key, traced) if joined.foreign or traced is not None else None
        return cast("tuple[Tensor, ...]", _TracedUntie.apply(z, key, joined, made))[0]


def _check_generator(generator: torch.Generator) -> None:
    if not isinstance(generator, torch.Generator):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"untie draws its key by a torch.Generator, got {shown(generator)}.")
    if generator.device.type != "cpu":
        raise RuleTypeError(f"untie draws its key on the CPU, got a generator on {generator.device}.")


def _made(z: Tensor, joined: Joined, key: Tensor | int | None, traced: Tensor | None) -> Tensor:
    """Output ``y`` of a function that is not ours, computed where every transform that follows it is active."""
    joined.plan(z.dtype)
    return joined.asked(z, key) if traced is None else _unlearned(traced, joined.forward)


def _floating(z: Tensor) -> Tensor:
    if z.dtype not in ops.FLOATING:
        raise RuleTypeError(
            f"untie needs a floating z, of float16, bfloat16, float32 or float64, got {z.dtype}. Convert it first."
        )
    return z


def _of_another_kind(z: Tensor | fx.Proxy, joined: Joined, generator: torch.Generator | None) -> Tensor | None:
    """Output ``y`` for an input that is no ordinary tensor; ``None`` if the ordinary way applies."""
    if isinstance(z, fx.Proxy):
        return _in_code(z, joined, generator)
    if joined.native and isinstance(z, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        return None
    return through_arrays(z, joined.halves(), lambda array: _untie(array, joined, generator))


def _in_code(z: fx.Proxy, joined: Joined, generator: torch.Generator | None) -> Tensor:
    """Call as ``torch.fx`` writes it into code."""
    if generator is not None:
        raise TransformError("torch.fx cannot write a generator into its code. Trace the network without one.")
    return cast("Tensor", z.tracer.create_proxy("call_function", untie_joined, (z, joined), {}))


def _followed(y: Tensor, z: Tensor, forward: ForwardLike) -> Tensor:
    """Output ``y`` of a callable whose derivative is PyTorch's, if it has one."""
    if z.requires_grad and torch.is_grad_enabled() and not y.requires_grad:
        raise without_graph(forward_of(forward))
    return y


def _unlearned(y: Tensor, forward: object) -> Tensor:
    """Output ``y`` of a function, refused if it depends on parameters; its dependence on ``z`` was cut off."""
    if _is_followed(y):
        raise RuleTypeError(
            f"The forward {forward} uses tensors that require gradients, and a rule would send them none. Detach them."
        )
    return y


def _is_followed(y: Tensor) -> bool:
    """True if autograd, or a transform of ``torch.func`` at any level, takes derivatives through ``y``."""
    if y.requires_grad or (ops.forward_mode() and forward_ad.unpack_dual(y).tangent is not None):
        return True
    if torch.compiler.is_dynamo_compiling() or not ops.transformed():  # the test is repeated when the code runs
        return False
    return ops.one_level_down(y, _is_followed)


def _checked(y: Tensor, z: Tensor, forward: object) -> Tensor:
    if not isinstance(y, Tensor) or y.shape != z.shape or y.device != z.device:  # pyright: ignore[reportUnnecessaryIsInstance]
        found = f"shape {tuple(y.shape)} on {y.device}" if isinstance(y, Tensor) else f"a {type(y).__name__}"  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(
            f"The forward {forward} is not elementwise: z has shape {tuple(z.shape)} on {z.device}, its output is {found}."
        )
    # Autocast computes some functions in float32; the promise is the dtype of z.
    return real(y, z.dtype, forward)


# An untied activation has outputs beside ``y``: an empty anchor, and packed bits if a transform must see them. The
# anchor belongs to z's graph and to nothing else. It costs no memory, and through it a second derivative that is
# refused meets ``underivable`` even if the gradient itself does not depend on z: the missing term would silently be 0.


class _DirectUntie(torch.autograd.Function):
    """Untied activation for plain autograd: kernels are called directly, forward value and bits in one pass.

    PyTorch runs a function of this older form in half the time of one with ``setup_context``, which ``torch.func``
    needs (1.04 against 1.76 of a native relu at 2^14 elements, with an empty backward pass).
    """

    @staticmethod
    def forward(
        ctx: Any, z: Tensor, key: Tensor | int | None, joined: Joined, made: tuple[Tensor] | None
    ) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        value, kernel, arguments = joined.plan(z.dtype)
        if made is not None:
            (y,) = made
            if joined.copies or y.data_ptr() == z.data_ptr():
                y = y.clone()  # the result may be a view, or a tensor that the function owns
            packed = [need.pack(z) for need in joined.packed]
        elif kernel is None:
            y = joined.sample(z, key) if joined.forward_is_random else value(z)
            packed = [need.pack(z) for need in joined.packed]
        else:
            y, first = getattr(ops.kernels_for(z), kernel)(z, *arguments)
            packed = [first, *[need.pack(z) for need in joined.packed[1:]]]
        anchor = z.new_empty(0)
        ctx.key = key
        _keep(ctx, z, joined, y, anchor, packed)
        return y, anchor

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None:
            return _zeros(ctx, others[0]), None, None, None
        unread = ctx.joined.keeps_nothing and not torch.is_grad_enabled()
        feedback = _feedback(ctx, grad_output, ctx.key, () if unread else ctx.saved_tensors)
        return _without_derivative(ctx, feedback, grad_output), None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


class _TracedUntie(torch.autograd.Function):
    """Untied activation under a compiler or a transform of ``torch.func``: all is done by visible operators."""

    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, key: Tensor | None, joined: Joined, made: Tensor | None) -> tuple[Tensor, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        y = joined.traced_value(z, key) if made is None else made.clone()
        if key is not None and torch.compiler.is_compiling():
            # A compiled checkpoint drops a draw that its forward does not use and draws anew in the backward pass, from
            # a later state of the generator. So in a graph y depends on the key, in name only.
            y = y * ((key & 0) + 1)
        if ops.transformed():
            # Under vmap y belongs to each example even where z does not, so that each passes its own gradient through
            # the rule: a rule of a sum is not the sum of the rule.
            y = y * ops.each_example(y)
        return (y, z.new_empty(0), *[need.pack(z) for need in joined.packed])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        z, key, joined, _ = inputs
        y, anchor, *packed = output
        ctx.mark_non_differentiable(*packed)
        _keep(ctx, z, joined, y, anchor, [*packed, *([] if key is None else [key])])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor | None, *others: Tensor | None) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        if grad_output is None:
            return _zeros(ctx, others[0]), None, None, None
        saved = ctx.saved_tensors
        with fake_mode_of(grad_output):
            feedback = _feedback(ctx, grad_output, saved[-1] if ctx.joined.draws else None, saved)
        return _without_derivative(ctx, feedback, grad_output), None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


def _keep(ctx: Any, z: Tensor, joined: Joined, y: Tensor, anchor: Tensor, others: Sequence[Tensor]) -> None:
    """Save the tensors that the backward pass needs, and no more."""
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(anchor, z if joined.keeps_input else None, y if joined.keeps_output else None, *others)
    ctx.joined = joined
    ctx.shape = z.shape
    ctx.order = None if z.is_contiguous() else memory_order(z)


def _zeros(ctx: Any, anchor: Tensor | None) -> Tensor | None:
    """Zero gradient, if only the derivative of bits has arrived; else ``None``."""
    return None if anchor is None else anchor.new_zeros(ctx.shape)


def _feedback(ctx: Any, grad_output: Tensor, key: Tensor | int | None, saved: tuple[Tensor | None, ...]) -> Tensor:
    """Gradient passed down: the incoming gradient, through each rule of the chain in turn."""
    order = ctx.order
    if grad_output.layout is not torch.strided:
        grad_output = grad_output.to_dense()
    # Bits follow z in memory, so the gradient must have the layout of z before it meets them.
    feedback = grad_output
    if order is not None or not feedback.is_contiguous():
        feedback = same_layout(feedback, order)
    joined: Joined = ctx.joined
    # Autograd records the result: it does not know kernels as operations.
    recorded = joined.linear and torch.is_grad_enabled()
    if recorded:
        feedback = cast("Tensor", _Anchored.apply(feedback, saved[_ANCHOR]))
    for stream, part in enumerate(joined.parts):
        kept = None if part.saved is None else saved[part.saved]
        drawn = key if part.draws else None
        if recorded and part.constant:
            feedback = cast("Tensor", _ConstantSlope.apply(feedback, kept, drawn, joined, stream))
        else:
            feedback = _send(part, feedback, kept, drawn, stream)
        if order is not None or not feedback.is_contiguous():
            feedback = same_layout(feedback, order)
    return feedback


def _send(part: Part, feedback: Tensor, kept: Tensor | None, key: Tensor | int | None, stream: int) -> Tensor:
    """Gradient that one rule of a chain passes down."""
    if part.foreign:
        return _sent_by_foreign(part, feedback, kept, key, stream)
    if part.slope is not None:
        return part.slope.send(feedback, kept)
    return part.rule.feedback(feedback, kept, None if key is None else Random(key, stream))


def _sent_by_foreign(
    part: Part, feedback: Tensor, kept: Tensor | None, key: Tensor | int | None, stream: int
) -> Tensor:
    """Gradient that a rule passes down whose function is not ours. It gets copies of its inputs, and nothing that learns."""
    recorded = torch.is_grad_enabled()  # a derivative of the feedback is taken, through what the function does
    with torch.enable_grad():
        given, at = (None if one is None else (one if recorded else one.detach()).clone() for one in (feedback, kept))
        if part.slope is not None:
            sent = part.slope.send(cast("Tensor", given), at)
        else:
            sent = part.rule.feedback(cast("Tensor", given), at, None if key is None else Random(key, stream))
    sent = same_shape(sent, feedback, part.rule)
    if not recorded and sent.requires_grad:
        raise RuleTypeError(
            f"The rule {part.rule} uses tensors that require gradients, and would send them none. Detach them."
        )
    return sent


class _Anchored(torch.autograd.Function):
    """Identity on the gradient, whose derivative by ``z`` is 0 and not missing, as that of PyTorch's relu is."""

    generate_vmap_rule = True

    @staticmethod
    def forward(feedback: Tensor, anchor: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return feedback.view_as(feedback)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return grad_output, torch.zeros_like(ctx.saved_tensors[0])

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


class _ConstantSlope(torch.autograd.Function):
    """Rule that multiplies each element with a constant: its derivative by the gradient is the same product."""

    generate_vmap_rule = True

    @staticmethod
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        feedback: Tensor,
        kept: Tensor | None,
        key: Tensor | int | None,
        joined: Joined,
        stream: int,
    ) -> Tensor:
        sent = _send(joined.parts[stream], feedback, kept, key, stream)
        return sent.view_as(sent) if sent is feedback else sent

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        feedback, kept, key, ctx.joined, ctx.stream = inputs
        ctx.number = None if isinstance(key, Tensor) else key
        ctx.order = None if feedback.is_contiguous() else memory_order(feedback)
        ctx.save_for_backward(kept, key if isinstance(key, Tensor) else None)

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        kept, key = ctx.saved_tensors
        feedback = same_layout(grad_output, ctx.order)
        key = ctx.number if key is None else key
        sent = cast("Tensor", _ConstantSlope.apply(feedback, kept, key, ctx.joined, ctx.stream))
        return sent, None, None, None, None

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> None:
        raise TransformError(NO_FORWARD_MODE)


def _without_derivative(ctx: Any, feedback: Tensor, grad_output: Tensor) -> Tensor:
    """Return ``feedback``, and refuse its derivative, which a caller may be about to take, unless it has one."""
    if not ctx.joined.linear and (torch.is_grad_enabled() or ops.forward_mode()):
        return underivable(feedback, ctx.saved_tensors[0], grad_output)
    if ops.forward_mode():
        return underivable(feedback, ctx.saved_tensors[0], grad_output, NO_PUSHED)
    return feedback
