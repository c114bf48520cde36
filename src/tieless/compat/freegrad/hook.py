"""Rules on the gradients of parameters."""

from __future__ import annotations

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from tieless.compat.freegrad.context import active
from tieless.errors import RuleTypeError

__all__ = ["attach_param_hooks"]

_HOOKED = WeakIdKeyDictionary()
"""Parameters that have the hook: twice attached would be twice applied."""


def attach_param_hooks(model: nn.Module) -> None:
    """Send the gradient of each parameter through the rule that is active when it arrives, if its scope has parameters.

    There is no ``tin``: ``scale``, ``clip_norm``, ``noise``, ``centralize`` and the jams do what they do without it,
    ``d(ReLU)`` nothing, and ``rectangular`` and ``triangular`` are refused. A random rule draws its key in the backward
    pass here, for there is no forward pass to draw it in. A second call changes nothing.

    Args:
        model: Model with the parameters; each must require a gradient.
    Raises:
        RuleTypeError: a parameter is frozen.
    Source:
        freegrad 1.0.
    Example:
        >>> from tieless.compat.freegrad import use
        >>> model = torch.nn.Linear(2, 1)
        >>> attach_param_hooks(model)
        >>> with use("scale", params={"s": 0.0}, scope="params"):
        ...     model(torch.ones(2)).backward()
        >>> model.weight.grad
        tensor([[0., 0.]])
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            raise RuleTypeError(
                f"The parameter {name!r} is frozen and will have no gradient. Attach hooks before freezing."
            )
    for parameter in model.parameters():
        if parameter not in _HOOKED:
            parameter.register_hook(_through_rule)
            _HOOKED[parameter] = True


def _through_rule(gradient: Tensor) -> Tensor:
    chosen = active()
    return chosen.bound.on_parameter(gradient) if chosen is not None and chosen.on("params") else gradient
