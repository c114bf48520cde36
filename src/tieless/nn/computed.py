"""Computed weight of a quantised layer: reads give computed values, and writes go to the latent weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NoReturn, cast

import torch
from torch import Tensor
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from tieless import ops
from tieless._tracing import known_when_traced
from tieless.errors import RuleTypeError
from tieless.nn.effects import (
    OF_PARAMETERS,
    is_attribute,
    is_basic,
    kind_of,
    let_all_writes_be_seen,
    method_read,
    name_of,
    written_by,
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
        memory: Latent weights in the memory that they had when the weight was read.
    """

    values: Tensor
    latent: Tensor | None
    whole: Tensor
    compute: Callable[[], Tensor]
    memory: Tensor

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
        keywords, name = kwargs or {}, name_of(func)
        if name == "__dlpack__":
            raise _lost("What is written to the memory that DLPack shares")
        weights = [one for one in _flat((*args, *keywords.values())) if isinstance(one, ComputedWeight)]
        if not weights:
            return NotImplemented
        targets = [one for one in _flat((written_by(func, args, keywords),)) if isinstance(one, ComputedWeight)]
        if name in OF_PARAMETERS and (latent := _source(weights[0]).latent) is not None:
            return func(latent, *args[1:], **keywords)
        latents = [_source(target).written(name) for target in targets]
        before = [_version(_source(one).values) for one in weights]
        result = func(*_plain(args, targets), **_plain(keywords, targets))
        if [_version(_source(one).values) for one in weights] != before:
            raise _lost(name)
        if targets:
            for target in targets:
                _source(target).refresh()
            return _again(result, latents, targets)
        weight = weights[0]
        if name in {"numpy", "__array__"} and not result.flags.owndata:
            result.flags.writeable = False  # its memory is that of the values
        return _shared(result, _source(weight), lambda: func(*_plain(args, [weight]), **_plain(keywords, [weight])))

    def __repr__(self, **settings: Any) -> str:
        return cast("str", _source(self).values.__repr__(**settings))

    def __getattr__(self, name: str) -> Any:
        source = _source(self)
        values, latent = source.values, source.latent
        if hasattr(type(values), name):  # of another class, such as ``placements`` and ``to_local``
            found = getattr(values, name)
            if not callable(found):
                return _shared(found, source, lambda: getattr(latent, name))

            def method(*args: Any, **keywords: Any) -> Any:
                return _shared(found(*args, **keywords), source, lambda: getattr(latent, name)(*args, **keywords))

            return method
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
        of_torch, method = method_read(func)
        if method:  # bound to the plain values, it would give views that write to nothing
            return partial(getattr(torch if of_torch else Tensor, method), args[0])
        kind = _kind_in_graph(func, args)
        if kind == "parameter" and (weights := _weights_in_graph(args)):
            return func(*_untraced(args, weights), **keywords)
        written = written_by(func, args, keywords)
        targets = _targets_in_graph(written)
        if targets:
            result = func(*_untraced(args, targets), **_untraced(keywords, targets))
            for target in targets:
                _, _, whole, compute = target.tieless_traced
                with torch.no_grad():
                    whole.copy_(compute())
            return written if isinstance(written, TracedWeight) else result
        if kind == "write" or keywords.get("max_norm") is not None:
            _refuse_in_graph()
        with torch._C.DisableTorchFunctionSubclass():  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            result = func(*_untraced(args, []), **_untraced(keywords, []))
        weights = [] if kind == "read" else _weights_in_graph((*args, *keywords.values()))
        if not weights:
            return result
        if is_attribute(func) and isinstance(result, Tensor):
            result = result.view_as(result)  # Dynamo fails to make a subclass of an attribute
        weight = weights[0]
        _, latent, whole, compute = weight.tieless_traced
        behind = None
        if kind == "view" and latent is not None:
            behind = func(*_untraced(args, [weight]), **_untraced(keywords, [weight]))
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
        let_all_writes_be_seen()
        return _traced(values, latent, values, compute)
    return _weight(_Source(values, latent, values, compute, latent.detach()))


def assigned(value: Tensor, latent: Tensor, compute: Callable[[], Tensor]) -> Tensor | None:
    """New latent weights for a value that is assigned to a weight; ``None`` if they have that value already.

    Args:
        value: Value that is assigned.
        latent: Latent weights before the assignment.
        compute: Function that computes the values of this weight.
    """
    if not isinstance(value, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(
            f"The weight of a quantised layer is a tensor, got {value!r}. tieless.nn.restore_weights makes it a parameter."
        )
    if not isinstance(value, ComputedWeight):
        if value.requires_grad:
            raise RuleTypeError(
                "A tensor that requires gradients and is assigned to the weight of a quantised layer would get none. Assign "
                "a torch.nn.Parameter, or detach it; functional_call takes it as parametrizations.weight.original."
            )
        return value.detach().clone()
    source = _source(value)
    if source.compute is compute and source.values is source.whole and source.latent is not None:
        # What was read is put back, as functional_call does: the same parameter in the same memory.
        if source.latent is not latent:
            return source.latent
        return None if _same_memory(source.memory, latent) else source.memory
    return None if source.latent is latent else source.values.detach().clone()


def _kind_in_graph(func: Any, args: Sequence[Any]) -> str:
    kind = kind_of(func)
    return ("view" if is_basic(args[1]) else "read") if kind == "index" else kind


@known_when_traced
def _refuse_in_graph() -> NoReturn:
    raise _lost("What compiled code writes to a copy or to several tensors at once")


def _weights_in_graph(given: Iterable[Any]) -> list[TracedWeight]:
    return [one for one in _flat(given) if isinstance(one, TracedWeight) and hasattr(one, "tieless_traced")]


def _targets_in_graph(written: Any) -> list[TracedWeight]:
    """Weights among tensors that are written to, refused where the latent weights behind one are not known."""
    targets = [one for one in _flat((written,)) if isinstance(one, TracedWeight)]
    for target in targets:
        if not hasattr(target, "tieless_traced") or target.tieless_traced[1] is None:
            _refuse_in_graph()
    return targets


def _traced(values: Tensor, latent: Tensor | None, whole: Tensor, compute: Callable[[], Tensor]) -> Tensor:
    weight = values.as_subclass(TracedWeight)
    weight.tieless_traced = (values, latent, whole, compute)
    return weight


def _weight(source: _Source) -> ComputedWeight:
    values = source.values
    if type(values) is not Tensor:
        # A tensor of another class, such as a distributed one, cannot be of this class too. All functions get the values.
        with no_dispatch():
            values = torch.empty_strided(values.shape, values.stride(), dtype=values.dtype, device="meta")
    weight = values.as_subclass(ComputedWeight)
    object.__setattr__(weight, "_tieless_source", source)
    return weight


def _source(weight: ComputedWeight) -> _Source:
    return object.__getattribute__(weight, "_tieless_source")


def _flat(values: Iterable[Any]) -> list[Any]:
    found: list[Any] = []
    for one in values:
        found += _flat(cast("Iterable[Any]", one)) if isinstance(one, (list, tuple)) else [one]
    return found


def _replaced(given: Any, replace: Callable[[Any], Any]) -> Any:
    """Arguments with each that is no dictionary, list or tuple replaced."""
    if isinstance(given, dict):
        return {name: _replaced(one, replace) for name, one in cast("dict[str, Any]", given).items()}
    if isinstance(given, (list, tuple)):
        several = [_replaced(one, replace) for one in cast("Sequence[Any]", given)]
        return several if isinstance(given, list) else tuple(several)
    return replace(given)


def _plain(given: Any, targets: Sequence[Tensor]) -> Any:
    """Arguments with latent weights in the place of weights that are written to, and values in the place of others."""

    def plain(one: Any) -> Any:
        if not isinstance(one, ComputedWeight):
            return one
        return _source(one).latent if any(one is target for target in targets) else _source(one).values

    return _replaced(given, plain)


def _untraced(given: Any, targets: Sequence[Tensor]) -> Any:
    """The same of weights in code that is traced."""

    def untraced(one: Any) -> Any:
        if not isinstance(one, TracedWeight) or not hasattr(one, "tieless_traced"):
            return one
        return one.tieless_traced[any(one is target for target in targets)]

    return _replaced(given, untraced)


def _again(result: Any, latents: Sequence[Tensor], targets: Sequence[ComputedWeight]) -> Any:
    """Result of a write, with weights in the place of the latent weights that were written to."""
    if isinstance(result, list):
        return [_again(one, latents, targets) for one in cast("Sequence[Any]", result)]
    return next((target for target, latent in zip(targets, latents, strict=True) if result is latent), result)


def _same_memory(one: Any, values: Tensor) -> bool:
    if not isinstance(one, Tensor) or one.layout != torch.strided:
        return False
    return _innermost(one).untyped_storage() is _innermost(values).untyped_storage()


def _innermost(tensor: Tensor) -> Tensor:
    """Tensor inside the wrappers of transforms and of classes such as the distributed tensors, whose first part it is."""
    tensor = ops.unwrapped(tensor)
    while is_traceable_wrapper_subclass(tensor):
        tensor = getattr(tensor, tensor.__tensor_flatten__()[0][0])
    return tensor


def _shared(result: Any, source: _Source, behind: Callable[[], Any]) -> Any:
    """Result of a reading, with weights in the place of tensors that share memory with the values.

    Args:
        result: Result of the values.
        source: Values, and the latent weights behind them.
        behind: Function that does the same to the latent weights.
    """
    if not any(_same_memory(one, source.values) for one in _flat((result,))):
        return result
    return _views(result, None if source.latent is None else behind(), source)


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
