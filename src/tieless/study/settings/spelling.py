"""Specs as a trial stores them: checked against the registries and written in one way only.

``"rectangular(-1.0,1)"`` and ``"rectangular(low=-1, high=1)"`` are one rule, so they must be one trial.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from tieless.data.own import is_path, source_of
from tieless.errors import StudyError
from tieless.feedback import feedback as feedback_of
from tieless.forwards import forward as forward_of
from tieless.functional import pair_of
from tieless.grammar import Call, Value, format_call, parse_call, parse_chain
from tieless.models import model_spec
from tieless.own import split
from tieless.registry import remembered, unknown
from tieless.rules import rule as rule_of, rule_schedule
from tieless.study.settings.augmentations import augmentations
from tieless.study.settings.initial import INITIALS
from tieless.study.settings.losses import LOSSES
from tieless.study.settings.metrics import METRICS
from tieless.study.settings.optimisers import OPTIMISERS
from tieless.study.settings.schedules import SCHEDULES
from tieless.study.settings.weights import WEIGHTS

TESTS = ("each-epoch", "once", "never")
"""Times at which a run may look at the test samples."""

COMPILERS = ("no", "inductor")
"""Backends of ``torch.compile`` that a trial may have."""
DENORMALS = ("kept", "flushed")
"""Treatments of numbers that are too small for the full precision of their type."""


def _whole(value: Value) -> Value:
    # 1.0 and 1 are one value to a registry and two in a text. Beyond 2**53 a float is not exact any more.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


def _plain(spec: str) -> str:
    """Spec with its whole numbers written as integers."""
    if (mine := split(spec)) is not None:
        return f"{mine[0]}:{_plain(mine[1])}"
    calls = [
        Call(call.name, tuple(map(_whole, call.args)), {name: _whole(value) for name, value in call.kwargs.items()})
        for call in parse_chain(spec)
    ]
    return " >> ".join(map(format_call, calls))


def _chosen(kind: str, name: str, known: Iterable[str]) -> str:
    if name not in known:
        raise StudyError(unknown(kind, name, known))
    return name


@remembered
def rule(spec: str) -> str:
    """Normalised spec of a backward rule, or of a schedule of rules.

    Example:
        >>> rule("rectangular(low=-1, high=1.0) >> noise(0.1)")
        'rectangular(-1, 1) >> noise(0.1)'
        >>> rule("alternate('tied', 'constant', every=1)")
        'alternate("tied", "constant(1)")'
    """
    if (schedule := rule_schedule(spec)) is not None:
        call = parse_call(str(schedule))
        return format_call(Call(call.name, tuple(rule(str(one)) for one in call.args), call.kwargs))
    return _plain(str(rule_of(spec)))


def first_rule(spec: str) -> str:
    """Rule that a network starts with: the first one of a schedule, or the single rule."""
    schedule = rule_schedule(spec)
    return spec if schedule is None else str(schedule.at(0))


@remembered
def forward(spec: str) -> str:
    """Normalised spec of a forward."""
    return _plain(str(forward_of(spec)))


@remembered
def model(spec: str) -> str:
    """Normalised spec of a model."""
    return _plain(str(model_spec(spec)))


@remembered
def data(spec: str) -> str:
    """Normalised spec of a data set: a path stays one."""
    source = str(source_of(spec))
    return source if is_path(source) else _plain(source)


def loss(name: str) -> str:
    """Name of a loss, checked."""
    return _chosen("loss", name, LOSSES)


def metric(name: str) -> str:
    """Name of a metric, checked."""
    return _chosen("metric", name, METRICS)


@remembered
def optimiser(spec: str) -> str:
    """Normalised spec of an optimiser."""
    return _plain(str(OPTIMISERS.read(spec)))


@remembered
def schedule(spec: str) -> str:
    """Normalised spec of a schedule."""
    return _plain(str(SCHEDULES.read(spec)))


@remembered
def init(spec: str) -> str:
    """Normalised spec of initial weights."""
    return _plain(str(INITIALS.read(spec)))


@remembered
def weights(spec: str) -> str:
    """Normalised spec of a kind of weights."""
    return _plain(str(WEIGHTS.read(spec)))


@remembered
def feedback(spec: str) -> str:
    """Normalised spec of a kind of feedback weights."""
    return _plain(str(feedback_of(spec)))


@remembered
def augment(spec: str) -> str:
    """Normalised spec of augmentations."""
    return _plain(" >> ".join(map(str, augmentations(spec))) or "none")


def test(name: str) -> str:
    """Name that says when to test, checked."""
    return _chosen("time to test", name, TESTS)


def denormals(name: str) -> str:
    """Name of the treatment of denormal numbers, checked."""
    return _chosen("treatment of denormal numbers", name, DENORMALS)


def compiler(name: str) -> str:
    """Name of the compiler, checked."""
    return _chosen("compiler", name, COMPILERS)


def device(name: str) -> str:
    """Name of a device that torch knows, checked, even if this machine has none."""
    try:
        return str(torch.device(name))
    except RuntimeError:
        raise StudyError(f"expected a torch device such as 'cpu' or 'cuda', got {name!r}") from None


@remembered
def check_pair(forward: str, backward: str) -> None:
    """Raise ``UntrainableError`` if ``backward`` needs a slope that ``forward`` does not have."""
    schedule = rule_schedule(backward)
    for one in [backward] if schedule is None else schedule.kinds():
        pair_of(forward, one)
