"""Schedule of rules, applied to a model."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tieless.errors import RuleTypeError, RuleValueError, UnreachedWarning
from tieless.forwards import Forward
from tieless.functional import Pair
from tieless.nn.activation import Activation
from tieless.nn.inside import activations, native_activations
from tieless.nn.select import check_module
from tieless.rules import Rule, RuleSchedule, Tied


class RuleScheduler:
    """Scheduler that gives the activations of a model the rules of a schedule, one step at a time.

    The scheduler changes the activations that the schedule is for: their rule is that of ``anneal``, but for the
    parameters that change, or the first one of ``alternate``. All others are unchanged; where the schedule is for a
    ``LearnableActivation``, or for one of PyTorch's own, whose rule is ``tied``, an ``UnreachedWarning`` names them,
    for they hold no rule to exchange. The rule of step 0 is set when the scheduler is made. A pending backward pass
    keeps the rule of its own forward pass, but a checkpoint that computes it again takes the rule of that moment: step
    after the backward pass, as an optimiser does. In eager mode, no rule of an earlier step is remembered anywhere. A
    compiled model takes the new rule at its next call and compiles for it, see ``anneal`` on ``stages``.

    Args:
        model: Module whose activations are looked up once, now: modules, also those inside of ``LIF``, and calls that
            ``convert`` has changed.
        schedule: Schedule from ``tieless.anneal`` or ``tieless.alternate``.
    Raises:
        RuleTypeError: the model is no module, or the schedule is none.
        RuleValueError: the schedule is for no activation of the model.
    Example:
        >>> from tieless.nn import RuleScheduler
        >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), tl.Activation("heaviside", "atan"))
        >>> scheduler = RuleScheduler(net, tl.anneal("atan", {"width": 2}, {"width": 0.5}, steps=3))
        >>> for _ in range(4):
        ...     print(net[1].rule)
        ...     scheduler.step()
        atan(2.0, 1)
        atan(1.5, 1)
        atan(1.0, 1)
        atan(0.5, 1)
    """

    def __init__(self, model: nn.Module, schedule: RuleSchedule) -> None:
        check_module(model, "RuleScheduler")
        if not isinstance(schedule, RuleSchedule):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuleTypeError(f"RuleScheduler needs a schedule, such as tieless.anneal makes, got {schedule!r}.")
        every = activations(model)
        found = {
            name: one for name, one in every.items() if isinstance(one, Activation) and schedule.belongs_to(one.rule)
        }
        left = _left(model, schedule)
        if not found:
            names = ", ".join(sorted({str(one.rule) for one in every.values()})) or "none"
            raise RuleValueError(
                f"No activation of {type(model).__name__} has the rule {schedule.whose()}. Its rules: {names}."
                f"{' ' * bool(left)}{left}"
            )
        if left:
            warnings.warn(left, UnreachedWarning, stacklevel=2)
        self.schedule = schedule
        self.names = tuple(found)
        self._activations = tuple(found.values())
        self._taken = 0
        self._set()

    @property
    def rule(self) -> Rule:
        """Rule that the activations have now, or would have if no other code had changed it."""
        return self.schedule.at(self._taken)

    def step(self) -> None:
        """Advance the schedule by one step."""
        self._taken += 1
        self._set()

    def after(self, optimiser: torch.optim.Optimizer) -> RemovableHandle:
        """Advance after each update of an optimiser, until ``remove()`` of the returned handle.

        Example:
            >>> from tieless.nn import RuleScheduler
            >>> net = torch.nn.Sequential(torch.nn.Linear(3, 2), tl.Activation("heaviside", "atan"))
            >>> scheduler = RuleScheduler(net, tl.anneal("atan", {"width": 2}, {"width": 1}, steps=10))
            >>> optimiser = torch.optim.SGD(net.parameters())
            >>> handle = scheduler.after(optimiser)
            >>> net(torch.rand(4, 3)).sum().backward(); optimiser.step()
            >>> net[1].rule
            ATan(width=1.9, height=1)
        """

        def step(*_: object) -> None:
            self.step()

        return optimiser.register_step_post_hook(step)

    def state_dict(self) -> dict[str, Any]:
        """State that a run must store to go on as if it had not stopped: the number of steps taken."""
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a stored state, with the rule of its step.

        Raises:
            RuleValueError: the state is none of ``state_dict``.
        """
        taken = state.get("taken") if isinstance(state, dict) and set(state) == {"taken"} else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if isinstance(taken, bool) or not isinstance(taken, int) or taken < 0:
            raise RuleValueError(f"RuleScheduler needs a state such as {{'taken': 3}}, got {state!r}.")
        self._taken = taken
        self._set()

    def _set(self) -> None:
        rule, made = self.rule, dict[Forward, Pair]()
        for activation in self._activations:
            if activation.rule == rule:
                continue
            # Not by ``pair_of``, which would keep the pair of every step.
            forward = activation.forward_fn
            if forward not in made:
                made[forward] = Pair(forward, rule)
            activation.tieless_pair = made[forward]


def _left(model: nn.Module, schedule: RuleSchedule) -> str:
    """Activations that the schedule is for and cannot change, with the way to make them changeable; empty if none."""
    learn = [
        name
        for name, one in activations(model).items()
        if not isinstance(one, Activation) and schedule.belongs_to(one.rule)
    ]
    native = native_activations(model) if schedule.belongs_to(Tied()) else {}
    parts = [
        f"{', '.join(learn)}, whose slope learns (settled() gives an Activation)" * bool(learn),
        f"{', '.join(native)}, of PyTorch's own (convert(model, backward='tied') gives them the rule)" * bool(native),
    ]
    named = "; ".join(filter(None, parts))
    return f"RuleScheduler cannot change activations of {type(model).__name__}: {named}." if named else ""
