"""Computed weight of a quantised layer: reads give computed values, and writes go to the latent weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from tieless import ops
from tieless.errors import RuleTypeError

_ASSIGNING = frozenset(
    f"__{name}__" for name in ("setitem", "iadd", "isub", "imul", "idiv", "itruediv", "ifloordiv", "imod", "ipow")
)


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


def computed_weight(values: Tensor, latent: Tensor, compute: Callable[[], Tensor]) -> Tensor:
    """Values whose writes go to the latent weights; plain values under a compiler or a transform.

    Args:
        values: Result of ``compute``.
        latent: Latent weights from which the values follow, element by element.
        compute: Function that computes the values again.
    """
    if not (ops.kernels_callable(latent) and ops.kernels_callable(values)):
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
    return isinstance(one, Tensor) and one.layout == torch.strided and one.untyped_storage() is values.untyped_storage()


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
