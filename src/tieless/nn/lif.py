"""Leaky integrate-and-fire cell, whose spike is an activation with a surrogate gradient."""

from __future__ import annotations

import math
from typing import Literal, cast, get_args

import torch
from torch import Tensor, nn

from tieless._kinds import is_array, refuse_all_but_tensors
from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import ForwardLike
from tieless.functional.membranes import potentials
from tieless.kernels.reference import arithmetic_dtype
from tieless.nn.activation import Activation
from tieless.registry import number, positive_number
from tieless.rules import RuleLike

Reset = Literal["subtract", "zero", "none"]


class LIF(nn.Module):
    """Layer of leaky integrate-and-fire neurons, without a state of its own: ``(x, v) -> (spikes, v)``.

    It has no memory: pass ``v`` in and get the new ``v`` back, as with snnTorch's ``init_hidden=False``. One time step, with
    ``v`` the membrane potential::

        v = beta v + gain x
        spikes = forward(v - threshold)               sent back by ``backward``
        v = v - spikes threshold                      reset="subtract"
        v = v (1 - spikes)                            reset="zero"
        v                                             reset="none"

    With ``delay_reset`` the state that is returned has not been reset; the next time step resets it, by the spikes of
    that state: ``v = beta v + gain x - spikes threshold``, or ``v = beta v (1 - spikes) + gain x``. snnTorch does the
    same.

    Args:
        beta: Factor on the potential in one time step, 0 to 1; a number, or a tensor that broadcasts against ``x``
            without its batch.
        gain: Factor on the input.
        threshold: Potential at which a neuron fires: above it with ``heaviside``, for which ``1[z > 0]`` is the spike.
        reset: Effect of a spike on the potential.
        forward, backward: Forward and backward rule (surrogate gradient) of the spike.
        learn_beta: True if ``beta`` is a parameter, kept between 0 and 1 by a logistic function: ``beta =
            sigma(raw_beta)``.
        detach_reset: True if no gradient flows through the spikes that reset (one still flows through the potential
            that ``reset="zero"`` multiplies). With False the rule applies to those spikes too.
        delay_reset: True if the reset comes at the next time step.
    Shape:
        ``x`` and ``v``: ``(batch, ...)``; spikes and the next ``v``: the same, and another shape is refused. Any
        floating dtype; ``v`` keeps its own, which is that of ``x`` at the start. In bfloat16 a potential no longer
        decays with a ``beta`` above 0.998: begin with a ``v`` of zeros in float32.
    Raises:
        SpecError, RuleTypeError, RuleValueError: a spec cannot be read, or an argument is wrong.
    Source:
        Eshraghian et al. 2023, doi:10.1109/JPROC.2023.3308088, for the time step in ``beta``; Zenke and Vogels 2021,
        doi:10.1162/neco_a_01367, for the detached reset. ``LIF(beta, delay_reset=True)`` is snnTorch's Leaky,
        ``LIF.from_tau(tau, reset="zero")`` SpikingJelly's LIFNode and Norse's LIF box, but for the spike at exactly the
        threshold, which SpikingJelly has and the others do not.
    Example:
        >>> from tieless.nn import LIF
        >>> cell = LIF(beta=0.5)
        >>> spikes, v = cell(torch.tensor([0.6, 1.5]))
        >>> spikes, v
        (tensor([0., 1.]), tensor([0.6000, 0.5000]))
        >>> cell(torch.tensor([0.8, 0.8]), v)
        (tensor([1., 1.]), tensor([0.1000, 0.0500]))

        A network in time, the same input at each of five steps:

        >>> layer, hidden, v, count = torch.nn.Linear(4, 8), LIF(beta=0.9), None, 0
        >>> for _ in range(5):
        ...     spikes, v = hidden(layer(torch.ones(3, 4)), v)
        ...     count = count + spikes
        >>> count.shape
        torch.Size([3, 8])
    """

    def __init__(
        self,
        beta: float | Tensor = 0.9,
        *,
        gain: float = 1.0,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        forward: ForwardLike = "heaviside",
        backward: RuleLike = "atan(0.3183098861837907, 1)",
        learn_beta: bool = False,
        detach_reset: bool = True,
        delay_reset: bool = False,
    ) -> None:
        super().__init__()
        _check_beta(beta, learn_beta)
        if reset not in get_args(Reset):
            raise RuleValueError(f"LIF: reset must be one of {', '.join(get_args(Reset))}, got {reset!r}.")
        self.gain = float(number("LIF: gain", gain))
        self.threshold = float(number("LIF: threshold", threshold))
        self.reset: Reset = reset
        self.detach_reset = detach_reset
        self.delay_reset = delay_reset
        self.spike = Activation(forward, backward)
        # A plain number is not in the state_dict, does not change the dtype of x, and works on every device.
        fixed = not learn_beta and (not isinstance(beta, Tensor) or beta.dim() == 0)
        self._beta = float(beta) if fixed else None
        if learn_beta:
            dtype = torch.get_default_dtype()
            raw = (
                torch.logit(beta.detach())
                if isinstance(beta, Tensor)
                else torch.full((), math.log(beta / (1 - beta)), dtype=dtype)
            )
            self.raw_beta = nn.Parameter(raw)
        elif isinstance(beta, Tensor) and not fixed:
            self.register_buffer("fixed_beta", beta.detach().clone())

    @classmethod
    def from_tau(
        cls,
        tau: float,
        *,
        dt: float = 1.0,
        exact: bool = False,
        scale_input: bool = True,
        threshold: float = 1.0,
        reset: Reset = "subtract",
        forward: ForwardLike = "heaviside",
        backward: RuleLike = "atan(0.3183098861837907, 1)",
        learn_beta: bool = False,
        detach_reset: bool = True,
        delay_reset: bool = False,
    ) -> LIF:
        """Make a cell by its time constant: ``tau dv/dt = x - v`` in time steps of ``dt``.

        Args:
            tau: Time constant of the membrane, in the unit of ``dt``; above ``dt`` unless ``exact``.
            dt: Length of a time step.
            exact: True for ``beta = exp(-dt / tau)``, the solution for a constant input; else Euler's ``beta = 1 - dt /
                tau``.
            scale_input: True for ``gain = 1 - beta``, so that a constant input ``x`` leads to the potential ``x``; else
                1.
            threshold, reset, forward, backward, learn_beta, detach_reset, delay_reset: Arguments of ``LIF``. The gain
                does not change while ``beta`` learns.
        Example:
            >>> from tieless.nn import LIF
            >>> LIF.from_tau(2.0, reset="zero")
            LIF(
              beta=0.5, gain=0.5, threshold=1, reset=zero
              (spike): Activation(heaviside, atan(0.3183098861837907, 1))
            )
        """
        tau, dt = positive_number("LIF.from_tau: tau", tau), positive_number("LIF.from_tau: dt", dt)
        if not exact and tau <= dt:
            raise RuleValueError(f"LIF.from_tau needs tau > dt unless exact=True, got tau={tau!r}, dt={dt!r}.")
        beta = math.exp(-dt / tau) if exact else 1 - dt / tau
        return cls(
            beta,
            gain=1 - beta if scale_input else 1.0,
            threshold=threshold,
            reset=reset,
            forward=forward,
            backward=backward,
            learn_beta=learn_beta,
            detach_reset=detach_reset,
            delay_reset=delay_reset,
        )

    @property
    def beta(self) -> float | Tensor:
        """Factor on the potential in one time step."""
        if self._beta is not None:
            return self._beta
        raw = getattr(self, "raw_beta", None)
        return cast("Tensor", self.fixed_beta) if raw is None else torch.sigmoid(raw.to(arithmetic_dtype(raw.dtype)))

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        self._check(x, state)
        v = torch.zeros_like(x) if state is None else state
        current = x if self.gain == 1 else self.gain * x
        if self.delay_reset:
            v = self._reset(self._left(v), self._fire(v, x)) + current
            return self._fire(v, x), v
        v = self._left(v) + current
        spikes = self._fire(v, x)
        return spikes, self._reset(v, spikes)

    def _check(self, x: Tensor, state: Tensor | None) -> None:
        refuse_all_but_tensors(x, "LIF")
        if state is not None:
            refuse_all_but_tensors(state, "LIF")
            if not state.is_floating_point():
                raise RuleTypeError(
                    f"LIF: the state must have a floating dtype, got {state.dtype}. Give zeros_like(x)."
                )
        if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]  a trace has one shape, whose sizes are tensors
            return
        if state is not None and state.shape != x.shape:
            raise RuleValueError(
                f"LIF: the state must have the shape of x, got {tuple(state.shape)} for {tuple(x.shape)}. A new batch begins "
                "without a state."
            )
        beta = cast("Tensor | None", getattr(self, "raw_beta", getattr(self, "fixed_beta", None)))
        if beta is not None and not _fits(beta.shape, x.shape):
            raise RuleValueError(
                f"LIF: beta must broadcast against x without its batch, got {tuple(beta.shape)} for {tuple(x.shape)}."
            )

    def _left(self, v: Tensor) -> Tensor:
        beta = self.beta
        if isinstance(beta, Tensor):
            # Rounded to bfloat16, a beta of 0.999 would be 1.
            dtype = arithmetic_dtype(v.dtype)
            return (beta.to(dtype) * v.to(dtype)).to(v.dtype)
        return beta * v

    def _fire(self, v: Tensor, x: Tensor) -> Tensor:
        return self.spike((v - self.threshold).to(x.dtype))

    def over_time(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All time steps of a sequence: ``(T, batch, ...) -> (T, batch, ...)``, and the state after the last.

        The results are those of a loop over the time steps. Where ``beta`` is a number, the reset is detached or there is
        none, and the halves of the spike are elementwise and draw nothing, all steps are one pass, several times as fast:
        the spike is called once, and the graph of a compiler does not grow with ``T``.

        Example:
            >>> from tieless.nn import LIF
            >>> spikes, v = LIF(beta=0.5).over_time(torch.full((4, 1), 0.75))
            >>> spikes.flatten()
            tensor([0., 1., 0., 1.])
        """
        refuse_all_but_tensors(x, "LIF.over_time")
        if x.dim() == 0 or len(x) == 0:
            raise RuleValueError(f"LIF.over_time needs x of shape (T, batch, ...) with T >= 1, got {tuple(x.shape)}.")
        if x.is_floating_point() and is_array(x) and self._is_plain():
            self._check(x[0], state)
            if state is None or (is_array(state) and (state.dtype, state.device) == (x.dtype, x.device)):
                settings = cast("float", self._beta), self.gain, self.threshold, self.reset, self.delay_reset
                found = potentials(x, state, self.spike.tieless_pair, settings)
                if found is not None:
                    return self.spike(found[0]), found[1]
        spikes: list[Tensor] = []
        for step in x.unbind():
            fired, state = self(step, state)
            spikes.append(fired)
        return torch.stack(spikes), cast("Tensor", state)

    def _is_plain(self) -> bool:
        """True if ``beta`` is a number, a reset has no derivative, and nobody watches or replaces a single time step."""
        if torch.compiler.is_exporting() or torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
            return False  # a written program has no operator of ours
        spike = self.spike
        if type(self) is not LIF or type(spike) is not Activation or _is_watched(self) or _is_watched(spike):
            return False
        return self._beta is not None and (self.detach_reset or self.reset == "none")

    def _reset(self, v: Tensor, spikes: Tensor) -> Tensor:
        if self.reset == "none":
            return v
        if self.detach_reset:
            spikes = spikes.detach()
        return v - spikes * self.threshold if self.reset == "subtract" else v * (1 - spikes)

    def extra_repr(self) -> str:
        beta = f"{self._beta:g}" if self._beta is not None else "learnt" if hasattr(self, "raw_beta") else "tensor"
        gain = "" if self.gain == 1 else f", gain={self.gain:g}"
        flags = "".join(
            f", {name}={value}"
            for name, value, usual in (
                ("detach_reset", self.detach_reset, True),
                ("delay_reset", self.delay_reset, False),
            )
            if value is not usual
        )
        return f"beta={beta}{gain}, threshold={self.threshold:g}, reset={self.reset}{flags}"


def _is_watched(module: nn.Module) -> bool:
    """True if hooks see a module's calls, or it has a method of its own in the place of its class's."""
    kinds = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    return "forward" in vars(module) or any(
        getattr(module, f"_{kind}") or vars(nn.modules.module)[f"_global_{kind}"] for kind in kinds
    )


def _fits(small: torch.Size, large: torch.Size) -> bool:
    """True if a tensor of one shape broadcasts against another without changing its shape."""
    ends = zip(reversed(small), reversed(large), strict=False)
    return len(small) <= len(large) and all(one in (1, other) for one, other in ends)


def _check_beta(beta: float | Tensor, learn_beta: bool) -> None:
    if isinstance(beta, Tensor):
        inside = beta.is_floating_point() and (beta.is_meta or bool(_inside(beta, learn_beta).all()))
        if inside and beta.is_meta and beta.dim() == 0 and not learn_beta:
            raise RuleValueError("LIF: beta is on the meta device and has no value. Give a number.")
    elif isinstance(beta, bool) or not isinstance(beta, (int, float)):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"LIF: beta must be a number or a tensor, got {beta!r}.")
    else:
        inside = 0 < beta < 1 if learn_beta else 0 <= beta <= 1
    if not inside:
        interval = "between 0 and 1, both excluded, to be learnt" if learn_beta else "0 to 1"
        raise RuleValueError(f"LIF: beta must be {interval}, got {beta!r}.")


def _inside(beta: Tensor, learn_beta: bool) -> Tensor:
    return (beta > 0) & (beta < 1) if learn_beta else (beta >= 0) & (beta <= 1)
