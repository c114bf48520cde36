"""Records in words, for the page and the terminal, so that they never describe a number differently."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from tieless._yaml import write_value
from tieless.report.records import Estimate, Grid, Report, Run, Settings, TableCell
from tieless.study.settings.metrics import ACCURACY, Scale, scale_of
from tieless.study.trial import FIELDS, BackwardPass, Result, Trial, measured

MINUS = "\N{MINUS SIGN}"
NOTHING = "\N{EN DASH}"
"""Sign in place of a number that does not exist."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Remark on a cell, as a symbol and in words."""

    kind: Literal["diverged", "one-class", "failed", "unfinished", "absent"]
    symbol: str
    text: str


def value(found: float, metric: str = ACCURACY, digits: int = 1, *, signed: bool = False) -> str:
    """Value of a metric, or a difference of two, in its unit: ``78.4``, a fraction in per cent, or ``0.1234``.

    Args:
        found: Value.
        metric: Name of the metric.
        digits: Number of digits behind the point of a fraction; other values have four in all.
        signed: True for a plus sign before what is above 0.
    """
    return _value(found, scale_of(metric), digits, signed=signed)


def _value(found: float, scale: Scale, digits: int, *, signed: bool = False) -> str:
    if scale.in_points:
        return _number(scale.in_units(found), digits, signed=signed)
    return format(scale.in_units(found) + 0.0, "+.4g" if signed and found else ".4g").replace("-", MINUS)


def with_unit(found: float, metric: str = ACCURACY, digits: int = 1) -> str:
    """Value of a metric with its unit: ``78.4 %``, ``0.1234 mse``."""
    return _with_unit(found, scale_of(metric), digits)


def _with_unit(found: float, scale: Scale, digits: int) -> str:
    return f"{_value(found, scale, digits)} {'%' if scale.in_points else scale.unit}"


def unit_of_differences(metric: str) -> str:
    """Unit of a difference: ``points``, ``mse``."""
    return scale_of(metric).words(0)


def measure(metric: str = ACCURACY) -> str:
    """Name of a metric with its direction and unit: ``accuracy, %``, ``mse (lower is better)``."""
    scale = scale_of(metric)
    unit = ", %" if scale.in_points else "" if scale.unit == metric else f" in {scale.unit}"
    return f"{metric}{'' if scale.higher else ' (lower is better)'}{unit}"


def interval(estimate: Estimate, metric: str = ACCURACY) -> str:
    """Half width of an interval in the unit of the metric, ``±1.2``; the values of two seeds; or ``n=1``."""
    if estimate.half is not None:
        return f"±{value(estimate.half, metric)}"
    return "n=1" if estimate.n == 1 else ", ".join(value(each, metric) for each in estimate.values)


def difference(estimate: Estimate, digits: int = 1, metric: str = ACCURACY) -> str:
    """Signed difference in the unit of the metric, with a true minus sign: ``+26.8``, ``0.0``."""
    return value(estimate.mean, metric, digits, signed=True)


def means(metrics: Sequence[str]) -> str:
    """Description of the upper number of each cell of a table."""
    named = (
        ACCURACY if list(metrics) == [ACCURACY] else " and ".join(measure(one).replace(", %", "") for one in metrics)
    )
    return (
        f"Test {named} after the last epoch, {'%, ' if _in_points(metrics) else ''}mean over seeds ± half of its 95 % interval, or both values of"
        " two seeds."
    )


def _in_points(metrics: Sequence[str]) -> bool:
    return all(scale_of(metric).in_points for metric in metrics)


def reading(metrics: Sequence[str]) -> str:
    """Description of the numbers in a table."""
    return (
        f"{means(metrics)} Below it, in {'points' if _in_points(metrics) else 'its unit'}: to tied / to frozen, median of the pairs of a seed; bold where its 95 % interval leaves out zero."
        f" A run that diverged counts with the {chance(metrics)}."
    )


def chance(metrics: Sequence[str]) -> str:
    """Name of the value as which a run counts that diverged."""
    return "accuracy of chance" if list(metrics) == [ACCURACY] else "metric's chance level"


def signed(value: float) -> str:
    """Signed number with two digits."""
    return _number(value, 2, signed=True)


def whole(value: float) -> str:
    """Number without digits behind the point."""
    return _number(value, 0)


def rate(learning_rate: float, edge: int = 0) -> str:
    """Learning rate, with an arrow if none beyond it was tried: ``0.01``, ``0.1↑``."""
    return write_value(learning_rate) + {-1: "↓", 0: "", 1: "↑"}[edge]


def marks(cell: TableCell) -> tuple[Mark, ...]:
    """Remarks that the numbers of a cell do not show, worst first."""
    planned, ended = cell.planned, len(cell.runs)
    found = [
        Mark("diverged", "✕", f"{cell.diverged}/{planned} diverged") if cell.diverged else None,
        Mark("one-class", "◐", f"{cell.one_class}/{planned} single class") if cell.one_class else None,
        Mark("failed", "!", f"{cell.failed}/{planned} failed") if cell.failed else None,
        Mark("unfinished", "…", f"{ended}/{planned} run") if 0 < ended < planned else None,
        Mark("absent", "…", "not run yet") if not ended else None,
    ]
    return tuple(mark for mark in found if mark is not None)


def absent(backward: BackwardPass, forward: str, grid: Grid) -> str:
    """Reason why a grid has no cell at a place."""
    return "cannot be tied" if backward == BackwardPass("tied") and forward in grid.flat else "not in this study"


def heading(cell: TableCell) -> str:
    """Title of a cell: ``relu under full_jam, learning rate 0.1``."""
    return f"{cell.forward} under {cell.backward}, learning rate {rate(cell.learning_rate)}"


def estimates(cell: TableCell) -> list[str]:
    """Numbers of a cell with their intervals, a line each: the mean, both differences."""
    lines: list[str] = []
    if cell.value is not None:
        mean = with_unit(cell.value.mean, cell.metric, 2)
        lines.append(f"mean {mean}{_range(cell.value, cell.metric, signed=False)}")
    for baseline, estimate in (("tied", cell.to_tied), ("frozen", cell.to_frozen)):
        if estimate is not None:
            unit = unit_of_differences(cell.metric)
            told = _range(estimate, cell.metric, signed=True)
            lines.append(f"to {baseline} {difference(estimate, 2, cell.metric)} {unit}{told}")
    return lines


def seeds(cell: TableCell) -> list[str]:
    """Result of each seed: ``seed 0: 78.12 %``, ``seed 1: diverged in epoch 3, 41.70 % before, counts as 10.00 %``."""
    scale = scale_of(cell.metric)
    return [_seed(run, scale) for run in cell.runs]


def _seed(run: Run, scale: Scale) -> str:
    if run.status == "failed":
        return f"seed {run.seed}: failed"
    if run.status == "done" and run.value is None:
        return f"seed {run.seed}: not tested"
    if run.value is None:
        tested = [found for found in run.history if found is not None]
        before = f", {_with_unit(tested[-1], scale, 2)} before" if tested else ""
        counts = "" if run.counted is None else f", counts as {_with_unit(run.counted, scale, 2)}"
        return f"seed {run.seed}: diverged in epoch {len(run.history) + 1}{before}{counts}"
    return f"seed {run.seed}: {_with_unit(run.value, scale, 2)}{', single class' if run.one_class else ''}"


class Labels:
    """Short names of trials: only the settings in which they differ."""

    def __init__(self, trials: Sequence[Trial]) -> None:
        self._names = [name for name in FIELDS if len({getattr(trial, name) for trial in trials}) > 1]

    def __call__(self, trial: Trial) -> str:
        """Label such as ``relu, full_jam, learning_rate 0.1, seed 0``: numbers have a name, specs stand alone."""
        values = {name: getattr(trial, name) for name in self._names}
        parts = [value if isinstance(value, str) else f"{name} {value}" for name, value in values.items()]
        return ", ".join(parts) or trial.backward


def ended(result: Result) -> str:
    """End of a trial: its metric on the test samples, or on the validation samples if it is never tested, or why not."""
    if result.status == "failed":
        return f"failed: {result.error}"
    if result.status == "diverged":
        return f"diverged in epoch {len(result.epochs) + 1}"
    tested, validated = (measured(result.trial, result.epochs[-1], samples) for samples in ("test", "validation"))
    found = validated if tested is None else tested
    shown = NOTHING if found is None else with_unit(found, result.trial.metric, 2)
    return shown if tested is not None else f"{shown} of validation"


def settings_words(settings: Settings) -> dict[str, str]:
    """Settings in words, by the name of the field."""
    words = {
        "model": settings.model,
        "init": "" if settings.init == "default" else f"{settings.init} initial weights",
        "weights": "" if settings.weights == "float" else f"{settings.weights} weights",
        "data": settings.data,
        "subset": "all training samples" if settings.subset is None else f"{settings.subset:,} training samples",
        "augment": "" if settings.augment == "none" else settings.augment,
        "optimiser": settings.optimiser,
        "learning_rate": "" if settings.learning_rate is None else f"learning rate {rate(settings.learning_rate)}",
        "schedule": "" if settings.schedule == "constant" else f"{settings.schedule} schedule",
        "validation": "" if settings.validation is None else f"{settings.validation:.0%} held out".replace("%", " %"),
        "test": {"once": "tested once", "never": "never tested"}.get(settings.test, ""),
        "batch": f"batch {settings.batch}",
        "epochs": f"{settings.epochs} epoch{'s' if settings.epochs > 1 else ''}",
        "loss": settings.loss,
        "metric": "" if settings.metric == ACCURACY else f"judged by {settings.metric}",
        "device": settings.device,
        "monitor": f"alignment every {settings.monitor} steps" if settings.monitor else "",
        "compile": "" if settings.compile == "no" else f"compiled by {settings.compile}",
        "sources": settings.sources,
        "denormals": "" if settings.denormals == "kept" else f"denormal numbers {settings.denormals}",
    }
    return {name: word for name, word in words.items() if word}


def titles(report: Report) -> dict[Settings, str]:
    """Title of each section: its model and data, then the other settings in which it differs from the others."""
    settings = [section.settings for section in report.sections]
    spoken = [settings_words(each) for each in settings]
    names = dict.fromkeys(name for each in spoken for name in each if name not in {"model", "data"})
    varied = [name for name in names if len({each.get(name) for each in spoken}) > 1]
    return {
        key: ", ".join([f"{each['model']} on {each['data']}", *(each[name] for name in varied)])
        for key, each in zip(settings, spoken, strict=True)
    }


def state(report: Report) -> str:
    """Progress of the study: ``all 96 trials have run``, ``40 of 96 trials have run``."""
    if report.run == report.planned:
        return f"all {report.planned} trials have run"
    return f"{report.run} of {report.planned} trials have run"


def duration(seconds: float) -> str:
    """Duration in words: ``42 s``, ``3 min 20 s``, ``5 h 4 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _number(value: float, digits: int, *, signed: bool = False) -> str:
    # Adding zero turns the -0.0 of a rounded small negative into 0.0.
    rounded = round(value, digits) + 0.0
    plus = "+" if signed and rounded > 0 else ""
    return f"{plus}{rounded:.{digits}f}".replace("-", MINUS)


def _range(estimate: Estimate, metric: str, *, signed: bool) -> str:
    if estimate.low is None or estimate.high is None:
        return f" (n = {estimate.n}: no interval)"
    low, high = (value(edge, metric, 2, signed=signed) for edge in (estimate.low, estimate.high))
    return f" (n = {estimate.n}, 95 % interval {low} to {high})"
