"""Rules of ours in the neurons of SpikingJelly, which call ``surrogate_function(v - v_threshold)``."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tieless.errors import RuleTypeError
from tieless.forwards import Forward
from tieless.functional import pair_of, untie_pair
from tieless.nn import Activation
from tieless.rules import RuleLike

__all__ = ["SurrogateFunction"]


class SurrogateFunction(Activation):
    """Spike at and above the threshold with a rule as surrogate gradient: for ``LIFNode(surrogate_function=...)``.

    It is ``tl.Activation("heaviside(at_zero=1)", rule)`` with the two modes of SpikingJelly's surrogates. Its kernels
    know its own surrogates alone: with this one a neuron runs in PyTorch, on any device.

    Args:
        rule: Spec or ``Rule``. ``tl.rules.Sigmoid.from_alpha(4)`` is ``surrogate.Sigmoid(alpha=4.0)``, and so on; the
            migration page has them all.
        spiking: True to give spikes, False to give the values of ``primitive``.
        primitive: Smooth function that goes forward when it does not spike: elementwise, a spec or a callable. The
            backward rule stays the same. Needed for ``spiking=False`` alone.
    Shape:
        ``(...) -> (...)``, float16, bfloat16, float32 or float64; layout and dtype as they come in.
    Raises:
        SpecError, RuleTypeError, RuleValueError: the rule cannot be read, or a parameter is wrong.
        RuleTypeError: ``spiking`` is False, and there is no primitive.
        UntrainableError: the rule is ``tied``: a spike has no derivative.
    Source:
        SpikingJelly 2.0, SurrogateFunctionBase.
    Example:
        >>> fire = SurrogateFunction("sigmoid(0.25, 1)", primitive=lambda x: torch.sigmoid(4 * x))
        >>> fire(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([0., 1., 1.])
        >>> fire.set_spiking_mode(False)
        >>> fire(torch.tensor([-1.0, 0.0, 1.0]))
        tensor([0.0180, 0.5000, 0.9820])
    """

    def __init__(
        self,
        rule: RuleLike,
        spiking: bool = True,
        *,
        primitive: str | Forward | Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__("heaviside(at_zero=1)", rule)
        self._smooth = None if primitive is None else pair_of(primitive, self.rule)
        self.set_spiking_mode(spiking)

    def set_spiking_mode(self, spiking: bool) -> None:
        """Switch between spikes and the values of the primitive."""
        if not spiking and self._smooth is None:
            raise RuleTypeError(
                f"The rule {self.rule} says what goes back; for spiking=False say what goes forward too: primitive=..."
            )
        self.spiking = spiking

    def forward(self, z: Tensor) -> Tensor:
        return untie_pair(z, self.tieless_pair if self.spiking or self._smooth is None else self._smooth)

    def extra_repr(self) -> str:
        return f"{self.rule}, spiking={self.spiking}"
