"""A schedule of rules at work on a model."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tieless.errors import RuleTypeError, RuleValueError, UnreachedWarning
from tieless.forwards import Forward
from tieless.functional import Joined
from tieless.nn.activation import Activation
from tieless.nn.inside import activations, native_activations
from tieless.nn.select import check_module
from tieless.rules import Rule, RuleSchedule, Tied


class RuleScheduler:
    """Gives the activations of a model the rules of a schedule, step by step.

    Those that the schedule is for are changed: whose rule is that of ``anneal``, but for the parameters that change, or
    the first one of ``alternate``. All others stay as they are; where the schedule is for a ``LearnableActivation``, or
    for one of PyTorch's own, whose rule is ``tied``, an ``UnreachedWarning`` names them, for they hold no rule to
    exchange. It begins where it is made, with the rule of step 0. A backward pass that is still to come keeps the rule
    of its own forward pass, but a checkpoint that computes it again takes the rule of that moment: step after the
    backward pass, as an optimiser does. Eager, no rule of an earlier step is remembered anywhere. A compiled model
    takes the new rule at its next call and compiles for it, see ``anneal`` on ``stages``.

    Args:
        model: Its activations are looked up once, now: modules, also those inside of ``LIF``, and what ``convert`` has
            changed.
        schedule: What ``tieless.anneal`` or ``tieless.alternate`` made.
    Raises:
        RuleTypeError: it is no module, or no schedule.
        RuleValueError: it is for no activation.
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
        """The rule that the activations have now, or would have if nobody else had changed it."""
        return self.schedule.at(self._taken)

    def step(self) -> None:
        """Go on by one step."""
        self._taken += 1
        self._set()

    def after(self, optimiser: torch.optim.Optimizer) -> RemovableHandle:
        """Step after each step of an optimiser, until ``remove()`` of the handle that is returned.

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
        """What a run must store to go on as if it had not stopped: the number of steps taken."""
        return {"taken": self._taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a stored state, with the rule of its step.

        Raises:
            RuleValueError: it is not what ``state_dict`` gave.
        """
        taken = state.get("taken") if isinstance(state, dict) and set(state) == {"taken"} else None  # pyright: ignore[reportUnnecessaryIsInstance]
        if isinstance(taken, bool) or not isinstance(taken, int) or taken < 0:
            raise RuleValueError(f"RuleScheduler needs a state such as {{'taken': 3}}, got {state!r}.")
        self._taken = taken
        self._set()

    def _set(self) -> None:
        rule, made = self.rule, dict[Forward, Joined]()
        for activation in self._activations:
            if activation.rule == rule:
                continue
            # Not by ``join``, which would keep the pair of every step.
            forward = activation.forward_fn
            if forward not in made:
                made[forward] = Joined(forward, rule)
            activation.joined = made[forward]


def _left(model: nn.Module, schedule: RuleSchedule) -> str:
    """Which activations the schedule is for and cannot change, and what makes them such that it can; empty if none."""
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
