"""Study: a question, and the trials that answer it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, cast

import yaml

from tieless.own import Code
from tieless.study.choose import Choose
from tieless.study.claims import Claim
from tieless.study.settings.metrics import remember, written_scales
from tieless.study.trial import Trial

SHIPPED = "the package"
"""Source of a study that comes with tieless."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Claims that entered a folder's plan together, and the number of their comparisons at that time.

    The first batch was planned before any result was there; each later one was added after that.
    """

    claims: tuple[Claim, ...]
    comparisons: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Question and the trials that answer it.

    Args:
        name: Name such as ``"paper/heaviside"``; for a file of one's own, its name without the ending.
        run_as: Argument of ``tieless study run``: the name, or the path of the file.
        source: Absolute path of its file, or ``SHIPPED``; ``None`` if it was not read from a file.
        title, question, table, core_hours: Header of its file.
        settings: Settings ``grid``, ``blocks`` and ``exclude`` as they were expanded: overrides applied, specs
            normalised, every axis a list.
        overrides: Texts ``key=value`` given on top of the file.
        fallback: Reason why the file's data were replaced by its fallback; ``None`` if they were not.
        claims: Claims that the study is to settle.
        emptied: Claims of the file that were dropped because the overrides leave no run that they are about.
        choose: Settings by which it chooses learning rates; ``None`` if it runs them all.
        trials: All planned trials, in the order of running. Those that choose learning rates come first; the others
            follow when they have ended.
        added: Number of trials, the last ones, with seeds that were added to those of the file.
        most_seeds: Largest number of seeds that a cell may get; ``None`` if it has only those of the file.
        batches: Claims as they entered the plan of this folder; empty as long as no result is there.
        imports: Names of the modules of the user's own that it was given leave to import.
        code: Their sources, for its workers; empty in a study read from its store.
        checkpoint: Moments at which the state of a running trial is kept, where a run does not say so: ``"epochs"``.
        asked: Requested trials at every learning rate, with ``choose``; empty in a study read from its store.
    Example:
        >>> from tieless.study import load_study
        >>> study = load_study("quickstart", overrides=["seeds=[0]"])
        >>> len(study.trials), study.command
        (14, "tieless study run quickstart '--set=seeds=[0]'")
    """

    name: str
    run_as: str
    source: str | None = None
    title: str
    question: str
    table: str | None = None
    core_hours: float = 0.0
    settings: Mapping[str, Any]
    overrides: tuple[str, ...] = ()
    fallback: str | None = None
    claims: tuple[Claim, ...] = ()
    emptied: tuple[str, ...] = ()
    choose: Choose | None = None
    trials: tuple[Trial, ...] = field(repr=False)
    imports: tuple[str, ...] = ()
    code: tuple[Code, ...] = field(default=(), repr=False, compare=False)
    added: int = 0
    most_seeds: int | None = None
    batches: tuple[Batch, ...] = ()
    checkpoint: Literal["epochs"] | None = None
    asked: tuple[Trial, ...] = field(default=(), repr=False, compare=False)

    @property
    def choosing(self) -> tuple[Trial, ...]:
        """Trials of the plan that choose learning rates."""
        return () if self.choose is None else tuple(trial for trial in self.trials if trial.test == "never")

    @property
    def waiting(self) -> int:
        """Number of trials that follow once learning rates are chosen, as far as they are not planned yet."""
        if self.choose is None:
            return 0
        key = self.choose.key
        follow = {(key(trial), trial.seed) for trial in self.asked}
        return len(follow - {(key(trial), trial.seed) for trial in self.trials})

    @property
    def command(self) -> str:
        """Shell command that runs this study again."""
        imports = (f"--import={name}" for name in self.imports)
        overrides = (f"--set={text}" for text in self.overrides)
        return shlex.join(["tieless", "study", "run", self.run_as, *imports, *overrides])

    @property
    def yaml(self) -> str:
        """Study as a file that, when read, gives the same trials without overrides or fallback."""
        header = {"title": self.title, "question": self.question, "table": self.table, "core_hours": self.core_hours}
        imports = {"imports": list(self.imports)} if self.imports else {}
        checkpoint = {"checkpoint": self.checkpoint} if self.checkpoint else {}
        written: dict[str, Any] = {**header, **imports, **checkpoint, **self.settings}
        if self.choose is not None:
            written["choose"] = {name: _plain(value) for name, value in asdict(self.choose).items() if value}
        if self.claims:
            written["claims"] = [
                {"says": str(claim), "label": claim.label} if claim.label else str(claim) for claim in self.claims
            ]
        return yaml.safe_dump(written, sort_keys=False, width=100, allow_unicode=True)

    def to_dict(self) -> dict[str, Any]:
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"trials", "asked", "code"}}
        record["claims"] = [claim.to_dict() for claim in self.claims]
        record["batches"] = [
            {"claims": [claim.to_dict() for claim in batch.claims], "comparisons": batch.comparisons}
            for batch in self.batches
        ]
        if scales := written_scales(trial.metric for trial in self.trials):
            record["metrics"] = scales
        record["choose"] = None if self.choose is None else asdict(self.choose)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], trials: Sequence[Trial]) -> Study:
        """Study from a dictionary that ``to_dict`` wrote; fields that an older record lacks are empty."""
        remember(record.get("metrics", []))
        values = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        values["overrides"] = tuple(record["overrides"])
        values["imports"] = tuple(record.get("imports", []))
        values["emptied"] = tuple(record.get("emptied", []))
        values["claims"] = tuple(Claim.from_dict(claim) for claim in record.get("claims", []))
        values["batches"] = tuple(
            Batch(tuple(map(Claim.from_dict, batch["claims"])), batch["comparisons"])
            for batch in record.get("batches", [])
        )
        if (choose := record.get("choose")) is not None:
            extend = choose.get("extend")
            values["choose"] = Choose(
                choose["validation"],
                tuple(choose["seeds"]),
                choose.get("epochs"),
                choose.get("confirm", False),
                None if extend is None else tuple(extend),
            )
        return cls(**values, trials=tuple(trials))


def _plain(value: object) -> object:
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value
