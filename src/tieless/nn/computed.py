"""Computed weight of a quantised layer: reads give computed values, and writes go to the latent weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, cast

import torch
from torch import Tensor

from tieless import ops
from tieless._tracing import known_when_traced
from tieless.errors import RuleTypeError

_ASSIGNING = frozenset(
    f"__{name}__" for name in ("setitem", "iadd", "isub", "imul", "idiv", "itruediv", "ifloordiv", "imod", "ipow")
)


_VIEWS = frozenset(
    {
        "T",
        "mT",
        "H",
        "mH",
        "data",
        "detach",
        "t",
        "view",
        "view_as",
        "transpose",
        "swapaxes",
        "swapdims",
        "permute",
        "movedim",
        "moveaxis",
        "select",
        "narrow",
        "squeeze",
        "unsqueeze",
        "expand",
        "expand_as",
        "diagonal",
        "unfold",
        "chunk",
        "split",
        "tensor_split",
        "unbind",
        "unflatten",
    }
)
"""Functions whose results are views of their first argument, for a compiler, to which no memory is known."""
_PERHAPS_VIEWS = frozenset(
    {
        "reshape",
        "reshape_as",
        "flatten",
        "ravel",
        "contiguous",
        "to",
        "type",
        "type_as",
        "float",
        "double",
        "half",
        "bfloat16",
        "cpu",
        "cuda",
        "real",
        "resolve_neg",
        "resolve_conj",
        "split_with_sizes",
        "hsplit",
        "vsplit",
        "dsplit",
        "as_strided",
        "alias",
        "numpy",
        "__array__",
        "__dlpack__",
        "untyped_storage",
        "data_ptr",
    }
)
"""Functions whose results may be views, or share memory otherwise."""


@dataclass(frozen=True, slots=True, eq=False)
class _Source:
    """Values and latent weights behind a computed weight.

    Args:
        values: Tensor that operations get.
        latent: Tensor that is written to; ``None`` for a view of the values that has no counterpart in the latent
            weights.
        whole: Values of the whole weight.
        compute: Function that computes the values again.
    """

    values: Tensor
    latent: Tensor | None
    whole: Tensor
    compute: Callable[[], Tensor]

    def written(self, what: str) -> Tensor:
        if self.latent is None:
            raise _lost(what)
        return self.latent

    def refresh(self) -> None:
        with torch.no_grad():
            self.whole.copy_(self.compute())


class ComputedWeight(Tensor):
    """Weight that is computed from latent weights: reads see its values, and writes change the latent weights.

    So ``nn.init``, ``reset_parameters``, ``weight.data.copy_``, ``weight[0] = 0``, ``weight.requires_grad_(False)`` and
    attributes do to the latent weights what they do to the weights of a plain layer. Views and ``.data`` forward writes
    to the latent weights. All operations get, and give, plain tensors; NumPy arrays of the weight are read-only.
    """

    # No other tensor class has this slot, so ``torch.utils.swap_tensors`` refuses to exchange one for another.
    __slots__ = ("_tieless_source",)
    _tieless_source: _Source

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords, name = kwargs or {}, getattr(func, "__name__", str(func))
        if name == "__dlpack__":
            raise _lost("What is written to the memory that DLPack shares")
        given = (*args, *keywords.values())
        target = keywords.get("out", given[0] if _writes(name) else None)
        if isinstance(target, ComputedWeight):
            source = _source(target)
            latent = source.written(name)
            result = func(*_plain(args, target, latent), **_plain(keywords, target, latent))
            source.refresh()
            return target if result is latent else result
        weight = next((one for one in _flat(given) if isinstance(one, ComputedWeight)), None)
        if weight is None:
            return NotImplemented
        source = _source(weight)
        values = source.values
        before = _version(values)
        result = func(*_plain(args, weight, values), **_plain(keywords, weight, values))
        if _version(values) != before:
            raise _lost(name)
        if name in {"numpy", "__array__"} and not result.flags.owndata:
            result.flags.writeable = False  # its memory is that of the values
        if not any(_same_memory(one, values) for one in _flat((result,))):
            return result
        latent = source.latent
        behind = None if latent is None else func(*_plain(args, weight, latent), **_plain(keywords, weight, latent))
        return _views(result, behind, source)

    def __getattr__(self, name: str) -> Any:
        latent = _source(self).latent
        if latent is None or name.startswith("__"):
            raise AttributeError(name)
        return getattr(latent, name)

    def __setattr__(self, name: str, value: Any) -> None:
        source = _source(self)
        latent = source.written(f"{name} =")
        if isinstance(value, ComputedWeight):
            if _source(value).whole is source.whole:
                return  # the end of `weight.data += 1`, when the latent weights have it already
            value = _source(value).values
        setattr(latent, name, value)
        source.refresh()


class TracedWeight(Tensor):
    """Computed weight in code that a compiler traces: what ``ComputedWeight`` is, by means that Dynamo follows.

    A write goes to the latent weights in the graph. One for which that cannot be told, to what may be a view or a copy,
    is refused: it ends the graph, or is an error where there must be one graph.
    """

    # Rows over which Dynamo iterates are of the class too, without this attribute.
    tieless_traced: tuple[Tensor, Tensor | None, Tensor, Callable[[], Tensor]]

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        given = (*args, *keywords.values())
        kind = _kind(func)
        if kind == "index":
            kind = "view" if _basic(args[1]) else "read"
        target = keywords.get("out", given[0] if kind == "write" else None)
        if isinstance(target, TracedWeight):
            if not hasattr(target, "tieless_traced"):
                _refuse_in_graph()
            _, latent, whole, compute = target.tieless_traced
            if latent is None:
                _refuse_in_graph()
            func(*_untraced(args, target, latent), **_untraced(keywords, target, latent))
            with torch.no_grad():
                whole.copy_(compute())
            return target
        if kind == "write":
            _refuse_in_graph()
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            result = func(*_untraced(args, None, None), **_untraced(keywords, None, None))
        weight = given[0] if given else None
        if kind == "read" or not isinstance(weight, TracedWeight) or not hasattr(weight, "tieless_traced"):
            return result
        _, latent, whole, compute = weight.tieless_traced
        behind = None
        if kind == "view" and latent is not None:
            behind = func(*_untraced(args, weight, latent), **_untraced(keywords, weight, latent))
        if isinstance(result, (list, tuple)):
            return [
                _traced(one, None if behind is None else behind[i], whole, compute)
                for i, one in enumerate(cast("Sequence[Tensor]", result))
            ]
        return _traced(result, behind, whole, compute) if isinstance(result, Tensor) else result


def computed_weight(values: Tensor, latent: Tensor, compute: Callable[[], Tensor]) -> Tensor:
    """Values whose writes go to the latent weights; plain values in a recording for another runtime.

    Args:
        values: Result of ``compute``.
        latent: Latent weights from which the values follow, element by element.
        compute: Function that computes the values again.
    """
    if ops.written_down():
        return values
    if torch.compiler.is_compiling():
        return _traced(values, latent, values, compute)
    if type(values) is not Tensor:
        return values
    return _weight(_Source(values, latent, values, compute))


def assigned(value: Tensor, latent: Tensor) -> Tensor | None:
    """New latent weights for a value that is assigned to a weight; ``None`` if they have that value already.

    Args:
        value: Value that is assigned.
        latent: Latent weights before the assignment.
    """
    if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(
            f"The weight of a quantised layer is a tensor, got {value!r}. tieless.nn.restore_weights makes it a parameter."
        )
    if not isinstance(value, ComputedWeight):
        return value.detach().clone()
    source = _source(value)
    return None if source.latent is latent else source.values.detach().clone()


@known_when_traced
def _kind(func: Any) -> str:
    """Kind of a function by its name: ``"write"``, ``"view"``, ``"perhaps"`` a view, ``"index"``, or else ``"read"``."""
    name = getattr(func, "__name__", str(func))
    if name == "__get__":
        name = func.__self__.__name__
    if name in _PERHAPS_VIEWS:
        return "perhaps"
    if name == "__getitem__":
        return "index"
    return "write" if _writes(name) else "view" if name in _VIEWS else "read"


@known_when_traced
def _refuse_in_graph() -> NoReturn:
    raise _lost("What compiled code writes to a copy or to several tensors at once")


def _basic(index: Any) -> bool:
    """True if an index gives a view: it has numbers, slices, ``None`` and an ellipsis alone."""
    places = cast("tuple[Any, ...]", index if isinstance(index, tuple) else (index,))
    return all(
        one is None or one is ... or (isinstance(one, (int, slice)) and not isinstance(one, bool)) for one in places
    )


def _untraced(given: Any, weight: Tensor | None, instead: Tensor | None) -> Any:
    """Arguments with one tensor in the place of a weight, and values in the place of others."""
    if isinstance(given, dict):
        return {name: _untraced(one, weight, instead) for name, one in cast("dict[str, Any]", given).items()}
    if isinstance(given, (list, tuple)):
        several = [_untraced(one, weight, instead) for one in cast("Sequence[Any]", given)]
        return several if isinstance(given, list) else tuple(several)
    if not isinstance(given, TracedWeight):
        return given
    if given is weight:
        return instead
    return given.tieless_traced[0] if hasattr(given, "tieless_traced") else given


def _traced(values: Tensor, latent: Tensor | None, whole: Tensor, compute: Callable[[], Tensor]) -> Tensor:
    weight = values.as_subclass(TracedWeight)
    weight.tieless_traced = (values, latent, whole, compute)
    return weight


def _weight(source: _Source) -> ComputedWeight:
    weight = source.values.as_subclass(ComputedWeight)
    object.__setattr__(weight, "_tieless_source", source)
    return weight


def _source(weight: ComputedWeight) -> _Source:
    return object.__getattribute__(weight, "_tieless_source")


def _writes(name: str) -> bool:
    return name in _ASSIGNING or (name.endswith("_") and not name.endswith("__"))


def _flat(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for one in values:
        found += _flat(cast("Iterable[Any]", one)) if isinstance(one, (list, tuple)) else [one]
    return found


def _plain(given: Any, weight: ComputedWeight, instead: Tensor) -> Any:
    """Arguments with one tensor in the place of a weight, and values in the place of other computed weights."""
    if isinstance(given, dict):
        return {name: _plain(one, weight, instead) for name, one in cast("dict[str, Any]", given).items()}
    if isinstance(given, (list, tuple)):
        several = [_plain(one, weight, instead) for one in cast("Sequence[Any]", given)]
        return several if isinstance(given, list) else tuple(several)
    if given is weight:
        return instead
    return _source(given).values if isinstance(given, ComputedWeight) else given


def _same_memory(one: Any, values: Tensor) -> bool:
    if not isinstance(one, Tensor) or one.layout != torch.strided:
        return False
    one, values = ops.unwrapped(one), ops.unwrapped(values)
    return one.untyped_storage() is values.untyped_storage()


def _views(result: Any, behind: Any, source: _Source) -> Any:
    """Results that share memory with the values, each with its part of the latent weights."""
    if isinstance(result, (list, tuple)):
        several = [
            _views(one, None if behind is None else behind[i], source)
            for i, one in enumerate(cast("Sequence[Any]", result))
        ]
        return several if isinstance(result, list) else tuple(several)
    if not _same_memory(result, source.values):
        return result
    shared = source.latent is not None and _same_memory(behind, source.latent)
    return _weight(replace(source, values=result, latent=behind if shared else None))


def _version(values: Tensor) -> int:
    # PyTorch documents it, underscore and all; a tensor of inference mode has none.
    return -1 if values.is_inference() else values._version  # noqa: SLF001


def _lost(what: str) -> RuleTypeError:
    return RuleTypeError(
        f"{what} would be lost: the weight of a quantised layer is computed from its latent weights. Write to those, "
        "tieless.nn.latent_weights(layer)[0]."
    )
