"""Rules of ours in the neurons of snnTorch, which call ``spike_grad(mem - threshold)``."""

from __future__ import annotations

from tieless.nn import Activation
from tieless.rules import RuleLike

__all__ = ["spike_grad"]


def spike_grad(rule: RuleLike) -> Activation:
    """Spike above the threshold, with a rule as surrogate gradient: for ``snn.Leaky(beta=0.9, spike_grad=...)``.

    It is ``tl.Activation("heaviside", rule)``, a module: the neuron can be pickled, keeps the dtype of its input, shows
    the rule where it is printed, and ``tl.convert(net, {"*.spike_grad": ...})`` gives it another.

    Args:
        rule: Spec or ``Rule``. ``tl.ATan.from_alpha(2)`` is ``surrogate.atan(alpha=2.0)``, and so on; the migration
            page has them all.
    Raises:
        SpecError, RuleTypeError, RuleValueError: the rule cannot be read, or a parameter is wrong.
        UntrainableError: the rule is ``tied``: a spike has no derivative.
    Source:
        snnTorch 1.0, whose surrogates are functions that make a function.
    Example:
        >>> spike_grad("atan")
        Activation(heaviside, atan(1, 1))
    """
    return Activation("heaviside", rule)
