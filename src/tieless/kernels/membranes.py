"""Membrane potentials of leaky neurons over all time steps, in plain PyTorch: the meaning of the kernels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from tieless.kernels import reference


class Membrane(NamedTuple):
    """Settings of neurons whose spikes reset them.

    Args:
        function: Name of the forward of a spike, as the kernels know it.
        parameters: Parameters of that forward.
        beta: Factor on the potential in one time step.
        gain: Factor on the input.
        threshold: Number that is taken off the potential before it meets the forward.
        reset: Effect of a spike on the potential: "subtract", "zero" or "none".
        delayed: True if the reset comes at the next time step.
    """

    function: str
    parameters: tuple[float, ...]
    beta: float
    gain: float
    threshold: float
    reset: str
    delayed: bool

    def spikes(self, z: Tensor) -> Tensor:
        """Spikes of potentials without their threshold; no derivative flows through them."""
        return reference.FORWARDS[self.function](z.detach(), *self.parameters)

    def after_reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        """Potential after a reset."""
        if self.reset == "none":
            return v
        return v - spikes * self.threshold if self.reset == "subtract" else v * (1 - spikes)

    def before_reset(self, grad: Tensor, z: Tensor | None) -> Tensor:
        """Gradient at a potential before its reset, from that behind it; ``z`` is needed where ``reset`` is "zero"."""
        return grad if z is None else grad * (1 - self.spikes(z))


def potentials(x: Tensor, state: Tensor | None, membrane: Membrane) -> tuple[Tensor, Tensor]:
    """Potentials without their threshold at each time step, ``(T, ...)``, and the state after the last.

    Args:
        x: Input, ``(T, ...)``.
        state: State before the first time step, ``(...)``; zeros if it is ``None``.
        membrane: Settings of the neurons.
    """
    v = torch.zeros_like(x[0]) if state is None else state
    found: list[Tensor] = []
    for step in x.unbind():
        current = step if membrane.gain == 1 else membrane.gain * step
        if membrane.delayed:
            v = membrane.after_reset(membrane.beta * v, membrane.spikes(v - membrane.threshold)) + current
        else:
            v = membrane.beta * v + current
        z = v - membrane.threshold
        found.append(z)
        if not membrane.delayed:
            v = membrane.after_reset(v, membrane.spikes(z))
    return torch.stack(found), v


def potentials_backward(
    grad_z: Tensor, grad_state: Tensor, z: Tensor | None, state: Tensor | None, membrane: Membrane
) -> tuple[Tensor, Tensor]:
    """Gradients at the input and at the state before the first time step.

    Args:
        grad_z: Gradient at ``z``, ``(T, ...)``.
        grad_state: Gradient at the state after the last time step.
        z: Result of ``potentials`` if ``reset`` is "zero", else ``None``.
        state: State before the first time step; it is read if ``reset`` is "zero" and delayed.
        membrane: Settings of the neurons.
    """
    steps: list[Tensor | None] = [None] * len(grad_z) if z is None else list(z.unbind())
    grad, grads = grad_state, list[Tensor]()
    for place in range(len(grad_z) - 1, -1, -1):
        if membrane.delayed:
            if grads:
                grad = membrane.beta * membrane.before_reset(grad, steps[place])
            grad = grad_z[place] + grad
            grads.append(grad)
        else:
            grad = grad_z[place] + membrane.before_reset(grad, steps[place])
            grads.append(grad)
            grad = membrane.beta * grad
    if membrane.delayed:
        first = None if z is None or state is None else state - membrane.threshold
        grad = membrane.beta * membrane.before_reset(grad, first)
    grad_x = torch.stack(grads[::-1])
    return grad_x if membrane.gain == 1 else membrane.gain * grad_x, grad
