"""Quantisation of one weight: a parametrization that computes it from latent weights."""

from __future__ import annotations

import copyreg
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast, get_args

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from tieless._tracing import no_script
from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import Forward, ForwardLike, forward as forward_of
from tieless.functional import pair_of, untie_pair
from tieless.kernels.reference import arithmetic_dtype
from tieless.nn.computed import assigned, computed_weight
from tieless.registry import positive_number
from tieless.rules import Rule, RuleLike, rule as rule_of

WeightScale = Literal["none", "mean", "per-channel"]

# Clipping points, in mean magnitudes, at which rounding to k bits has the least squared error for normally distributed
# weights (the problem of Max 1960, doi:10.1109/TIT.1960.1057548, with zero among the levels); a test finds them again.
_UNITS = {2: 1.54, 3: 2.44, 4: 3.10, 5: 3.63, 6: 4.10, 7: 4.52, 8: 4.91}


class QuantizedWeight(nn.Module):
    """Quantised weights, computed from latent weights: ``s forward(latent / u)``, with the gradient of ``backward``.

    With ``z = latent / u``, ``q = forward(z)`` and ``g`` the incoming gradient (feedback) of the weight::

        u = unit * mean|latent|                         1 without a unit, or where all latent weights are 0
        s = sum(latent q) / sum(q q)                    1 without a scale, or where all q are 0
        gradient of latent = backward(s g, z) / u

    ``s`` is the number for which ``s q`` is nearest to the latent weights in the sum of squares; for ``sign`` it is
    ``mean|latent|``. ``u`` and ``s`` are constants to the gradient: no gradient flows through them. Sums and means run
    over all weights, or over the weights of one output channel (dimension 0) with ``"per-channel"``. For half types,
    sums, means and products are computed in float32.

    Args:
        forward: Spec, ``Forward`` or any elementwise callable.
        backward: Spec or ``Rule``.
        scale: ``"none"`` for the values of ``forward`` themselves, ``"mean"`` for one ``s``, ``"per-channel"`` for one
            ``s`` per output channel.
        unit: Unit of latent weights before ``forward`` sees them, in mean magnitudes; ``None``: no unit.
        transposed: True if the inputs come first, as in GPT-2's ``Conv1D``; ``forward`` sees the outputs first.
    Shape:
        ``(out, ...) -> (out, ...)``, or ``(in, out) -> (in, out)`` if it is transposed; any floating dtype.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or an argument is wrong.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
    Source:
        Courbariaux et al. 2015, arXiv:1511.00363 (no scale); Rastegari et al. 2016, arXiv:1603.05279 (the scale; in the
        paper it has a gradient too, in its authors' program as in Bi-Real Net's it is a constant).
    Example:
        >>> from tieless.nn import QuantizedWeight
        >>> QuantizedWeight("sign", "rectangular(-1, 1)", scale="per-channel")(torch.tensor([[0.5, -0.1], [2.0, 1.0]]))
        tensor([[ 0.3000, -0.3000],
                [ 1.5000,  1.5000]])
    """

    def __init__(
        self,
        forward: ForwardLike = "sign",
        backward: RuleLike = "rectangular(-1, 1)",
        *,
        scale: WeightScale = "none",
        unit: float | None = None,
        transposed: bool = False,
    ) -> None:
        super().__init__()
        if scale not in get_args(WeightScale):
            raise RuleValueError(f"scale must be one of {', '.join(get_args(WeightScale))}, got {scale!r}.")
        self.tieless_pair = pair_of(forward_of(forward), rule_of(backward))
        self.scale: WeightScale = scale
        self.unit = None if unit is None else positive_number("unit", unit)
        self.transposed = transposed

    __prepare_scriptable__ = no_script

    @classmethod
    def from_bits(cls, bits: int, backward: RuleLike = "constant", *, scale: WeightScale = "mean") -> QuantizedWeight:
        """Weights of ``bits`` bits, as in ``QuantLinear``.

        Args:
            bits: Bits per weight, 2 to 8, one of them for the sign.
            backward: Backward rule of the rounding.
            scale: Factor on the values, as for the class.
        Raises:
            RuleTypeError, RuleValueError: an argument is wrong.
        Example:
            >>> from tieless.nn import QuantizedWeight
            >>> QuantizedWeight.from_bits(4)
            QuantizedWeight(signed_staircase(7), constant(1), scale=mean, unit=3.1)
        """
        if isinstance(bits, bool) or not isinstance(bits, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuleTypeError(f"bits must be an integer from 2 to 8, got {bits!r}.")
        if bits not in _UNITS:
            raise RuleValueError(f"bits must be 2 to 8, got {bits}. One bit is a sign: take BinaryLinear and its like.")
        return cls(f"signed_staircase({2 ** (bits - 1) - 1})", backward, scale=scale, unit=_UNITS[bits])

    @property
    def forward_fn(self) -> Forward:
        """Forward that is applied to latent weights."""
        return self.tieless_pair.forward

    @property
    def rule(self) -> Rule:
        """Backward rule (straight-through estimator) of the latent weights."""
        return self.tieless_pair.rule

    @property
    def settings(self) -> tuple[object, ...]:
        """Settings that are equal for two quantisations that compute the same."""
        return self.forward_fn, self.rule, self.scale, self.unit, self.transposed

    def forward(self, latent: Tensor) -> Tensor:
        return self._values(latent.mT).mT if self.transposed else self._values(latent)

    def _values(self, latent: Tensor) -> Tensor:
        dtype = arithmetic_dtype(latent.dtype)
        fixed = latent.detach().to(dtype)
        z = latent
        if self.unit is not None:
            unit = self.unit * self._mean(fixed.abs())
            # Numbers below the normal ones count as 0: the reciprocal, by which the gradient is multiplied, would be
            # infinite.
            z = (latent.to(dtype) / torch.where(unit < torch.finfo(dtype).tiny, 1.0, unit)).to(latent.dtype)
        q = untie_pair(z, self.tieless_pair)
        if self.scale == "none":
            return q
        values = q.detach().to(dtype)
        squares = self._mean(values * values)
        scale = torch.where(squares == 0, 1.0, self._mean(fixed * values) / squares)
        return (q.to(dtype) * scale).to(latent.dtype)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Latent weights for a weight that is assigned: the weight itself."""
        return weight

    def _mean(self, values: Tensor) -> Tensor:
        if self.scale == "per-channel" and values.dim() > 1:
            return values.mean(tuple(range(1, values.dim())), keepdim=True)
        return values.mean() if self.scale != "per-channel" else values

    def extra_repr(self) -> str:
        unit = "" if self.unit is None else f", unit={self.unit:g}"
        transposed = ", transposed=True" if self.transposed else ""
        return f"{self.forward_fn}, {self.rule}, scale={self.scale}{unit}{transposed}"


LATENT = "parametrizations.weight.original"
"""Name of the parameter of latent weights in a layer."""


def quantizer_of(layer: nn.Module) -> QuantizedWeight | None:
    """Quantisation of the weight of a layer; ``None`` if the weight is not quantised by tieless."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    first = cast("nn.ModuleList", _steps(layer))[0]
    return first if isinstance(first, QuantizedWeight) else None


def latent_of(layer: nn.Module) -> nn.Parameter:
    """Latent weights of a quantised layer."""
    return cast("nn.Parameter", _steps(layer).original)


def _steps(layer: nn.Module) -> nn.Module:
    return cast("nn.ModuleDict", layer.parametrizations)["weight"]


def inputs_first_class(layer: nn.Module) -> type[nn.Module] | None:
    """Class of GPT-2's ``Conv1D`` in transformers (linear, weights ``(in, out)``) if a layer is one; else ``None``."""
    modules = ("transformers.pytorch_utils", "transformers.modeling_utils")  # the latter before 4.21
    return next((cls for cls in type(layer).__mro__ if cls.__name__ == "Conv1D" and cls.__module__ in modules), None)


def check_own_weight(layer: nn.Module, name: str = "") -> None:
    """Refuse a layer whose weight is not a parameter of its own with values to quantise.

    Args:
        layer: Any module with a weight.
        name: Name of the layer, for messages.
    Raises:
        RuleTypeError: the weight has a parametrization, a hook computes it, it has no shape yet, or no floating dtype.
    """
    what = f"The weight of {name or 'the model'} ({type(layer).__name__})"
    if parametrize.is_parametrized(layer, "weight"):
        raise RuleTypeError(
            f"{what} has a parametrization already. Remove it first, with "
            "torch.nn.utils.parametrize.remove_parametrizations."
        )
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    if weight is None:
        raise RuleTypeError(
            f"{what} is no parameter: weight_norm, pruning or another hook computes it. Make it one first, with "
            "torch.nn.utils.remove_weight_norm or torch.nn.utils.prune.remove."
        )
    if is_lazy(weight):
        raise RuleTypeError(f"{what} is lazy and has no shape yet. Call the model once with a batch first.")
    if not weight.is_floating_point():
        raise RuleTypeError(f"{what} must have a floating dtype, got {weight.dtype}.")


def install(layer: nn.Module, quantizer: QuantizedWeight) -> None:
    """Quantise the weight of a layer, in place of an earlier quantisation."""
    if quantizer_of(layer) is not None:
        uninstall(layer)
    parametrize.register_parametrization(layer, "weight", quantizer)
    _complete(type(layer))


def uninstall(layer: nn.Module) -> None:
    """Remove the parametrization of a layer: the latent weights become its weights. Parameters keep PyTorch's order.

    Raises:
        RuleTypeError: the class of the layer was changed after its quantisation.
    """
    check_outermost(layer)
    # A layer and its deep copies share the class that parametrize has made, and it would take the weight from all of them.
    cls = type(layer)
    own = {name: value for name, value in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = cast("type[nn.Module]", type(cls.__name__, cls.__bases__, own))
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    for name, parameter in list(layer.named_parameters(recurse=False)):
        if name != "weight":
            delattr(layer, name)
            layer.register_parameter(name, parameter)


def check_outermost(layer: nn.Module) -> None:
    """Refuse a layer whose class was changed after its weight was quantised."""
    if "weight" not in vars(type(layer)):
        raise RuleTypeError(
            f"The class of a layer was changed after its weight was quantised, to {type(layer).__name__}. Undo that first: "
            "tieless.revert_feedback does it for feedback weights."
        )


def _complete(cls: Any) -> None:
    """Add to a class from parametrize the methods that it lacks: writing to the weight, tying, loading and pickling."""
    if "weight" in vars(cls):
        cls.weight = _passing_on(vars(cls)["weight"])
    cls.register_parameter = _register_parameter
    cls._load_from_state_dict = _load
    cls.__reduce_ex__ = _reduce
    if "__getstate__" in vars(cls):
        del cls.__getstate__  # its own, which refuses


def _passing_on(weight: Any) -> property:
    def read(self: nn.Module) -> Tensor:
        return computed_weight(weight.fget(self), latent_of(self), _steps(self))

    def write(self: nn.Module, value: Tensor) -> None:
        latent = assigned(value, latent_of(self), _steps(self))
        if isinstance(latent, nn.Parameter):
            _steps(self).register_parameter("original", latent)
        elif latent is not None:
            weight.fset(self, latent)

    return property(read, write)


def _base(layer: nn.Module) -> Any:
    """Class from which parametrize has derived a layer's class. Not by super(): uninstall copies the class."""
    return next(cls for cls in type(layer).__mro__ if vars(cls).get("__reduce_ex__") is _reduce).__base__


def _register_parameter(self: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
    if name == "weight" and quantizer_of(self) is not None:
        _steps(self).register_parameter("original", parameter)
    else:
        _base(self).register_parameter(self, name, parameter)


def _load(self: nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
    plain, latent = f"{prefix}weight", f"{prefix}{LATENT}"
    if quantizer_of(self) is not None and plain in state and latent not in state:
        state[latent] = state.pop(plain)
    _base(self)._load_from_state_dict(self, state, prefix, *others)  # noqa: SLF001


def _reduce(self: nn.Module, protocol: Any) -> Any:
    base = _base(self)
    made, arguments, *rest = base.__reduce_ex__(self, max(2, protocol))
    if made is copyreg.__newobj__:  # pyright: ignore[reportAttributeAccessIssue]
        arguments = (base,)
    return (rebuilt, (made, arguments, tuple(cast("nn.ModuleDict", self.parametrizations))), *rest)


def rebuilt(made: Callable[..., nn.Module], arguments: tuple[Any, ...], names: tuple[str, ...]) -> nn.Module:
    """Empty layer of the class that parametrize makes for one with these weights, for a pickle to fill."""
    layer = made(*arguments)
    nn.Module.__init__(layer)
    for name in names:
        layer.register_parameter(name, nn.Parameter(torch.empty(0, device="cpu")))
        parametrize.register_parametrization(layer, name, nn.Identity())
    _complete(type(layer))
    return layer


class QuantizedLayer(nn.Module):
    """Additions of binary, ternary and few-bit layers to PyTorch's: the parametrization, and the class without it."""

    plain: ClassVar[type[nn.Module]]

    def __init__(self, *sizes: Any, quantizer: QuantizedWeight, **others: Any) -> None:
        super().__init__(*sizes, **others)
        install(self, quantizer)
