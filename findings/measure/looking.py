"""Looks: measurements of a network while its trial runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

from tieless.diagnose.watching.sites import sites_of
from tieless.errors import StudyError
from tieless.study import Result, Trial
from tieless.study.running.training import run_trial

Row = dict[str, Any]
Look = Callable[[int, nn.Module, tuple[Tensor, Tensor]], Iterable[Row]]
"""Function of a step, the network before it and the step's batch; it gives rows of a table."""


class _Enough(Exception):  # noqa: N818 - it is no error
    """Signal that all looks have been taken."""


def looked_at(trial: Trial, steps: Collection[int], look: Look) -> tuple[list[Row], Result]:
    """Run a trial up to the last look, step for step as in the study.

    Args:
        trial: Trial to run.
        steps: Numbers of the steps before which the look is taken.
        look: Function that measures. It leaves the network and the random state unchanged.
    Returns:
        Rows of all looks, and the result of the trial.
    Raises:
        StudyError: the trial failed, or ended before the first look and did not diverge.
    """
    rows: list[Row] = []

    def on_step(step: int, model: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
        if step > max(steps):
            raise _Enough
        if step in steps:
            rows.extend(look(step, model, batch))

    result = run_trial(trial, on_step=on_step)
    failed = result.status == "failed" and not (result.error or "").startswith(_Enough.__name__)
    if failed or not (rows or result.status == "diverged"):
        raise StudyError(f"{named(trial)}: {result.error or 'it ended before the first look'}.")
    return rows, result


def named(trial: Trial) -> str:
    """Name of a trial in messages."""
    return f"{trial.model}, {trial.optimiser}, {trial.forward}, {trial.backward}, seed {trial.seed}"


@contextmanager
def inputs_kept(model: nn.Module) -> Generator[list[Tensor]]:
    """Context with a list that gets the input of each activation that is called."""
    kept: list[Tensor] = []
    with ExitStack() as stack:
        for site in sites_of(model):
            hook = site.module.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
            stack.callback(hook.remove)
        yield kept


def short(value: float) -> str:
    """Number in four digits, which is more than two seeds have in common."""
    return f"{value:.4g}"
