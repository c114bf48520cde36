"""Conversion of a rule of freegrad, which is a function with a dictionary, into a rule of ours, which is a value."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any, ClassVar

import torch
from torch import Tensor

from tieless.draws import Random
from tieless.errors import RuleTypeError, SpecError
from tieless.forwards import Forward, forward
from tieless.functional import untie
from tieless.rules import Constant, Rule
from tieless.rules.base import Family
from tieless.signature import real
from tieless.slopes import Need

RuleFunction = Callable[..., Any]
"""``(ctx, grad_out, tin, **params) -> grad_in``."""

_ARGUMENTS = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in ("ctx", "grad_out", "tin")]


class Transform:
    """One of freegrad's own rules: its signature, and the rule of ours that it is.

    Args:
        name: Name in freegrad.
        make: Function from freegrad's parameters to our rule.
        without_input: Function for a gradient without ``tin``, as in the hook of a parameter; ``None`` if the rule
            needs one.
    """

    def __init__(self, name: str, make: Callable[..., Rule], without_input: Callable[..., Rule] | None) -> None:
        self.name, self.make, self._without_input = name, make, without_input
        self.__doc__, self.__module__, self.__name__ = make.__doc__, make.__module__, make.__name__
        self.__qualname__ = make.__qualname__
        parameters = list(inspect.signature(make).parameters.values())
        self.takes = tuple(parameter.name for parameter in parameters)
        self.__signature__ = inspect.Signature([*_ARGUMENTS, *parameters], return_annotation=Tensor)

    def rule(self, params: Mapping[str, Any]) -> Rule:
        """Rule of ours, from the parameters that it takes; others are left to the other rules of a composition."""
        return self.make(**_numbers(params, self.takes))

    def rule_without_input(self, params: Mapping[str, Any]) -> Rule:
        """Rule of ours for a gradient without an input."""
        if self._without_input is None:
            raise RuleTypeError(
                f"The rule {self.name!r} reads the input of an activation, and the gradient of a parameter has none. "
                "Use scope='activations', or a rule such as 'scale', 'noise' or 'full_jam'."
            )
        return self._without_input(**_numbers(params, self.takes))

    def __call__(self, *args: Any, **params: Any) -> Tensor:
        """Gradient ``grad_in``, now; a random rule draws its key from torch's generator."""
        given = self.__signature__.bind(*args, **params).arguments
        _, grad_out, tin = given.pop("ctx"), given.pop("grad_out"), given.pop("tin")
        return apply(bind(self, given), grad_out, tin)

    def __reduce__(self) -> str:
        return self.__name__

    def __repr__(self) -> str:
        return self.name


def _numbers(params: Mapping[str, Any], takes: Iterable[str]) -> dict[str, Any]:
    """Parameters that are taken; a NumPy number or a tensor with one element becomes a number."""
    return {
        name: params[name].item() if hasattr(params[name], "item") else params[name] for name in takes if name in params
    }


class Composed:
    """Result of ``compose``: rules in a row. It can be printed, pickled and compared.

    Args:
        rules: Rules: functions, and rules of ours.
    """

    def __init__(self, rules: tuple[RuleFunction | Rule, ...]) -> None:
        self.rules = rules

    def __call__(self, ctx: Any, grad_out: Tensor, tin: Tensor | None, **params: Any) -> Tensor:
        """Gradient ``grad_in``, now."""
        return apply(bind(self, params), grad_out, tin)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Composed) and self.rules == other.rules

    def __hash__(self) -> int:
        return hash(self.rules)

    def __repr__(self) -> str:
        return f"compose({', '.join(map(_name_of, self.rules))})"


def _name_of(rule: RuleFunction | Rule) -> str:
    if isinstance(rule, (Rule, Transform, Composed)):
        return str(rule)
    return getattr(rule, "__name__", repr(rule))


@dataclass(frozen=True, slots=True, eq=False)
class Written(Rule):
    """Function of a user as a rule of ours, given ``z``.

    Args:
        function: Function ``(ctx, grad_out, tin, **params) -> grad_in``.
        params: Parameters of the calls, a copy.
    """

    family: ClassVar[Family] = "transform"
    function: RuleFunction
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        pass  # its fields are no parameters of a spec

    @classmethod
    def is_ours(cls) -> bool:
        return False

    def needs(self, forward: Forward) -> Need:
        return "input"

    def feedback(self, grad_output: Tensor, kept: Tensor | None, random: Random | None) -> Tensor:
        with nullcontext() if random is None else seeded(int(random.key), random.stream, grad_output.device):
            return self.sent(grad_output, kept)

    def sent(self, grad_output: Tensor, tin: Tensor | None) -> Tensor:
        """Result of the function, checked to be a gradient."""
        sent = self.function(None, grad_output, tin, **self.params)
        if not isinstance(sent, Tensor) or sent.shape != grad_output.shape:
            got = tuple(sent.shape) if isinstance(sent, Tensor) else repr(sent)
            raise RuleTypeError(
                f"The rule {self} must return a tensor of the feedback's shape {tuple(grad_output.shape)}, got {got}."
            )
        return real(sent, grad_output.dtype, self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Written) or self.function is not other.function:
            return False
        mine, others = self.params, other.params
        return mine.keys() == others.keys() and all(_same(mine[name], others[name]) for name in mine)

    def __hash__(self) -> int:
        return hash(self.function)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.params.items())
        return f"{_name_of(self.function)}({given})" if given else _name_of(self.function)


@dataclass(frozen=True, slots=True, eq=False)
class WrittenJam(Written):
    """Function registered with ``draws=True``, as a rule of ours: its random numbers follow from the call's key."""

    draws: ClassVar[bool] = True


DRAWING: set[RuleFunction] = set()
"""Functions that were registered with ``draws=True``."""


def _same(one: object, other: object) -> bool:
    plain = (bool, int, float, str, tuple, type(None))
    return one is other or (isinstance(one, plain) and isinstance(other, plain) and one == other)


@contextmanager
def seeded(key: int, stream: int, device: torch.device) -> Generator[None, None, None]:
    """Context in which torch's generators of the CPU and ``device`` start from the key; it restores them."""
    # An odd multiple keeps two rules of a chain apart; torch takes seeds of 63 bits.
    seed = (key ^ (stream * 0x9E3779B97F4A7C15)) & (2**63 - 1)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            torch.cuda.default_generators[device.index].manual_seed(seed)
        yield


@dataclass(frozen=True, slots=True)
class Bound:
    """Rule of freegrad with its parameters, checked.

    Args:
        rule: Rule of ours.
        parts: Rules for a gradient without an input, one for each part, made when needed.
    """

    rule: Rule
    parts: tuple[Callable[[], Rule], ...] = field(compare=False, repr=False)

    def on_parameter(self, gradient: Tensor) -> Tensor:
        """Gradient of a parameter, through each rule. A random rule draws its key now: there was no forward pass."""
        for make in self.parts:
            rule = make()
            gradient = rule.sent(gradient, None) if isinstance(rule, Written) else _apply(rule, gradient, None)
        return gradient


def bind(function: Any, params: Mapping[str, Any]) -> Bound:
    """Rule with its parameters.

    Raises:
        SpecError: none of its functions takes a parameter of this name.
        RuleTypeError, RuleValueError: the argument is no rule, or a parameter is of the wrong type or out of range.
    """
    functions = list(_flat(function))
    _refuse_unknown(functions, params)
    params = dict(params)
    rules = [_rule_of(part, params) for part in functions]
    parts = tuple(
        partial(part.rule_without_input, params) if isinstance(part, Transform) else partial(_rule_of, part, params)
        for part in functions
    )
    rule = Constant(1) if not rules else reduce(lambda first, then: first >> then, rules)
    return Bound(rule, parts)


def _flat(function: Any) -> Iterator[RuleFunction | Rule]:
    if isinstance(function, Composed):
        for part in function.rules:
            yield from _flat(part)
    elif isinstance(function, Rule) or callable(function):
        yield function
    else:
        raise RuleTypeError(f"A rule is a name, a function (ctx, grad_out, tin, **params) or a Rule, got {function!r}.")


def _rule_of(part: RuleFunction | Rule, params: Mapping[str, Any]) -> Rule:
    if isinstance(part, Rule):
        return part
    if isinstance(part, Transform):
        return part.rule(params)
    takes = _taken(part)
    made = WrittenJam if part in DRAWING else Written
    return made(part, {name: value for name, value in params.items() if takes is None or name in takes})


def _taken(function: RuleFunction | Rule) -> tuple[str, ...] | None:
    """Parameters that a rule takes; ``None`` if it takes any. ``**_``, a convention of freegrad, takes none."""
    if isinstance(function, Rule):
        return ()
    if isinstance(function, Transform):
        return function.takes
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD and not p.name.startswith("_") for p in parameters):
        return None
    return tuple(p.name for p in parameters[3:] if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))


def _refuse_unknown(functions: list[RuleFunction | Rule], params: Mapping[str, Any]) -> None:
    taken = [_taken(function) for function in functions]
    if None in taken:
        return
    known = sorted({name for names in taken for name in names or ()})
    for name in params:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            names = ", ".join(map(_name_of, functions)) or "nothing"
            takes = f"takes {', '.join(known)}" if known else "takes no parameters"
            raise SpecError(f"Unknown parameter {name!r} in params: {names} {takes}.{hint}")


def apply(bound: Bound, grad_out: Tensor, tin: Tensor | None) -> Tensor:
    """Gradient ``grad_in``, outside of any graph."""
    return bound.on_parameter(grad_out) if tin is None else _apply(bound.rule, grad_out, tin)


_LINEAR = forward("linear")


def _apply(rule: Rule, grad_out: Tensor, tin: Tensor | None) -> Tensor:
    if tin is None and any(part.needs(_LINEAR) is not None for part in rule.parts()):
        raise RuleTypeError(
            f"The rule {rule} reads the input of an activation, and the gradient of a parameter has none. "
            "Use scope='activations'."
        )
    grad_out = grad_out.detach()
    dtype = grad_out.dtype if tin is None else torch.promote_types(grad_out.dtype, tin.dtype)
    with torch.enable_grad():
        z = torch.zeros_like(grad_out) if tin is None else tin.detach().to(dtype)
        y = untie(z.requires_grad_(), _LINEAR, rule)
        return torch.autograd.grad(y, z, grad_out.to(dtype))[0].to(grad_out.dtype)
