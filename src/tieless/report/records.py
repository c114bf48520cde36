"""Records of a report, as frozen values: collected in ``collect``, displayed elsewhere.

A report has sections, one for each setting that is not the learning rate; a section has blocks, one for each
learning rate; a block has a grid of cells (backward rules down, forwards across) and the curves to it.
Values are those of the metric on the test samples, accuracies as fractions; seconds are wall time.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import NamedTuple

from tieless.study.choose import Choice
from tieless.study.judging.verdicts import ClaimVerdict
from tieless.study.settings.metrics import ACCURACY
from tieless.study.study import Study
from tieless.study.trial import BackwardPass, Status, Trial, count


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Description of the study: its name, question and cost, its resolved YAML and the command that runs it again.

    Args:
        name: Name of the study, as ``tieless study run`` takes it.
        title: Title, one line.
        question: Question of the study, in a sentence or a paragraph.
        table: Table of the paper that it repeats; ``None`` for a study beyond the paper.
        core_hours: Hours that the whole grid takes on one core, as its author states.
        imports: Names of the modules of the user's own that it imported.
        fallback: Reason why it ran on other data than its file asks for; ``None`` if it did not.
        yaml: Study as it was run, overrides applied.
        command: Shell command that runs it again.
    """

    name: str
    title: str
    question: str
    table: str | None
    core_hours: float
    imports: tuple[str, ...]
    fallback: str | None
    yaml: str
    command: str

    @classmethod
    def of(cls, study: Study) -> Header:
        return cls(**{field.name: getattr(study, field.name) for field in fields(cls)})


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean over ``n`` seeds and the half width of its 95 % interval.

    One or two seeds give no interval: ``half`` is ``None``, and ``values`` has them. A difference is a median, and has the
    ``ends`` of its interval if there is one.
    """

    n: int
    mean: float
    half: float | None
    values: tuple[float, ...] = ()
    ends: tuple[float, float] | None = None

    @property
    def low(self) -> float | None:
        return self.ends[0] if self.ends else None if self.half is None else self.mean - self.half

    @property
    def high(self) -> float | None:
        return self.ends[1] if self.ends else None if self.half is None else self.mean + self.half

    @property
    def clear(self) -> bool:
        """True if the interval exists and does not contain zero."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


class Run(NamedTuple):
    """One seed of one cell.

    Args:
        history: Metric of the test samples after each epoch that it finished, ``None`` if it was not tested.
        counted: Value with which the run counts, chance if it diverged; ``None`` if it failed.
    """

    trial: str
    seed: int
    status: Status
    one_class: bool
    history: tuple[float | None, ...]
    counted: float | None

    @property
    def value(self) -> float | None:
        """Metric of the test samples after the last epoch; ``None`` for a run that diverged or failed."""
        return self.history[-1] if self.status == "done" and self.history else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TableCell:
    """One forward under one backward rule, over its seeds.

    Args:
        forward: Spec of the forward.
        backward: Rule and feedback weights.
        learning_rate: Learning rate of these runs.
        planned: Number of seeds that the study asks for.
        runs: Runs of its seeds, in order of the seed.
        value: Metric over the seeds, chance for one that diverged, as claims count it; ``None`` if no run has ended, or
            all failed.
        to_tied, to_frozen: Median difference of this cell less the baseline of the same forward, paired by seed, as claims
            take it; ``None`` in the baseline itself and if no seed trained in either.
        edge: Number -1 or +1 if the cell was chosen from at least three learning rates and this is the lowest or the
            highest of them; 0 otherwise.
        metric: Name of the metric.
    """

    forward: str
    backward: BackwardPass
    learning_rate: float
    planned: int
    runs: tuple[Run, ...]
    value: Estimate | None
    to_tied: Estimate | None = None
    to_frozen: Estimate | None = None
    edge: int = 0
    metric: str = ACCURACY

    @property
    def diverged(self) -> int:
        return count("diverged", self.runs)

    @property
    def failed(self) -> int:
        return count("failed", self.runs)

    @property
    def one_class(self) -> int:
        return sum(run.one_class for run in self.runs)


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells as ``rows[rule][forward]``; ``None`` if the study leaves the cell out.

    ``flat`` are the forwards that no slope can train, so that their tied cell does not exist.
    """

    rules: tuple[BackwardPass, ...]
    forwards: tuple[str, ...]
    flat: frozenset[str]
    rows: tuple[tuple[TableCell | None, ...], ...]

    def cell(self, rule: str, forward: str, feedback: str = "tied") -> TableCell | None:
        backward = BackwardPass(rule, feedback)
        if backward not in self.rules or forward not in self.forwards:
            return None
        return self.rows[self.rules.index(backward)][self.forwards.index(forward)]

    @property
    def metric(self) -> str:
        """Name of the metric of its cells."""
        return next((cell.metric for cell in self.cells), ACCURACY)

    @property
    def cells(self) -> tuple[TableCell, ...]:
        return tuple(cell for row in self.rows for cell in row if cell is not None)


@dataclass(frozen=True, slots=True)
class Point:
    """One epoch of a curve: mean, lowest and highest value over the seeds that finished."""

    epoch: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Stop:
    """Divergence of a run: values of the finished epochs (possibly none), ``None`` if not tested."""

    seed: int
    history: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Curve:
    """Metric by epoch under one rule, and the runs that ended early."""

    backward: BackwardPass
    points: tuple[Point, ...]
    stops: tuple[Stop, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """The curves of one forward."""

    forward: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Trial fields without halves, feedback weights and seed. ``learning_rate`` is ``None`` in a section's settings."""

    data: str
    subset: int | None
    augment: str
    model: str
    weights: str
    loss: str
    optimiser: str
    learning_rate: float | None
    schedule: str
    validation: float | None
    test: str
    batch: int
    epochs: int
    device: str
    monitor: int
    denormals: str
    sources: str
    metric: str
    init: str
    compile: str

    @classmethod
    def of(cls, trial: Trial) -> Settings:
        return cls(**{field.name: getattr(trial, field.name) for field in fields(cls)})

    def without_rate(self) -> Settings:
        return replace(self, learning_rate=None)


@dataclass(frozen=True, slots=True)
class Block:
    """One table and its learning curves: trials that differ in forward, rule and seed only."""

    settings: Settings
    grid: Grid
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Section:
    """Blocks that differ in the learning rate only.

    ``best`` takes each cell at its own best learning rate; it is ``None`` if there is only one rate. If rates were
    ``chosen`` on validation samples there is one block, with each cell at its own rate. ``classes`` is the number of
    classes of the data, ``None`` before a trial has reported it.
    """

    settings: Settings
    learning_rates: tuple[float, ...]
    best: Grid | None
    blocks: tuple[Block, ...]
    classes: int | None
    chosen: bool = False

    @property
    def table(self) -> Grid:
        """Cells of the section, each at its best or chosen rate."""
        return self.best or self.blocks[0].grid


@dataclass(frozen=True, slots=True)
class DosePoint:
    """Result of one dose: ``value`` over the seeds, chance for those that diverged, and how many ``diverged``."""

    dose: float
    value: Estimate | None
    diverged: int


@dataclass(frozen=True, slots=True)
class DoseLine:
    """Response of one forward in one section, by ascending dose; ``without`` is that of the rule without the part."""

    settings: Settings
    forward: str
    points: tuple[DosePoint, ...]
    without: Estimate | None


@dataclass(frozen=True, slots=True)
class Dose:
    """Rules that differ in one number, and the result of each.

    Args:
        rule: Spec of the rules with the parameter's name in its place: ``"tied >> flip(p)"``.
        parameter: Name of the parameter.
        without: Spec of the rule without that part, if the study has it.
        lines: Lines, one for each section and forward.
        metric: Name of the metric.
    """

    rule: str
    parameter: str
    without: str | None
    lines: tuple[DoseLine, ...]
    metric: str = ACCURACY


@dataclass(frozen=True, slots=True)
class Axis:
    """Field of the trials and the values that the study gives it."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Fact:
    """Fact that is true of ``trials`` trials: ``torch`` is ``2.13.0``, ``processor`` is ``...``."""

    name: str
    value: str
    trials: int


@dataclass(frozen=True, slots=True)
class Failure:
    """Trial that raised an error, and the line of that error."""

    trial: Trial
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All records of a report. Two stores with the same results give equal reports.

    ``doses`` are families of at least three rules that differ in one number only. ``claims`` are the judged claims of
    the study; ``choices`` the learning rates that it has chosen so far; ``choosing`` is True if it chooses any;
    ``added`` is the number of planned trials with seeds that its file does not ask for.

    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from tieless.report import collect
        >>> from tieless.study import Result, Store, load_study
        >>> study = load_study("quickstart", ["seeds=[0]"])
        >>> with TemporaryDirectory() as folder:
        ...     with Store.create(Path(folder), study) as store:
        ...         store.add(Result(trial=study.trials[0], status="diverged"))
        ...     report = collect(Path(folder))
        >>> report.planned, report.run, report.diverged
        (14, 1, 1)
    """

    header: Header
    claims: tuple[ClaimVerdict, ...]
    choosing: bool
    choices: tuple[Choice, ...]
    added: int
    planned: int
    done: int
    diverged: int
    one_class: int
    rules: tuple[BackwardPass, ...]
    sections: tuple[Section, ...]
    doses: tuple[Dose, ...]
    axes: tuple[Axis, ...]
    seconds: float
    started: str
    ended: str
    versions: tuple[Fact, ...]
    hardware: tuple[Fact, ...]
    failures: tuple[Failure, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics of its sections."""
        return tuple(dict.fromkeys(section.settings.metric for section in self.sections)) or (ACCURACY,)

    @property
    def by_accuracy_alone(self) -> bool:
        """True if no section is judged by another metric."""
        return self.metrics == (ACCURACY,)

    @property
    def run(self) -> int:
        """Number of trials that ended, in any way."""
        return self.done + self.diverged + len(self.failures)
