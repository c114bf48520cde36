"""A study: what is asked, and the trials that answer it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, cast

import yaml

from tieless.study.choose import Choose
from tieless.study.claims import Claim
from tieless.study.trial import Trial

SHIPPED = "the package"
"""Source of a study that comes with tieless."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A question and the trials that answer it.

    Args:
        name: ``"paper/heaviside"``; for a file of one's own, its name without the ending.
        run_as: What ``tieless study run`` takes: the name, or the path of the file.
        source: Absolute path of its file, or ``SHIPPED``; ``None`` where it was not read from a file.
        title, question, table, core_hours: The header of its file.
        settings: ``grid``, ``blocks`` and ``exclude`` as they were expanded: overrides applied, specs in their
            one spelling, every axis a list.
        overrides: The ``key=value`` texts given on top of the file.
        fallback: Why the file's data were replaced by its fallback; ``None`` where they were not.
        claims: What the study is to settle.
        emptied: Claims of the file that are not among them, for the overrides leave no run that they are about.
        choose: How it chooses learning rates; ``None`` where it runs them all.
        trials: All trials that are planned, in the order of running. Those that choose learning rates come first, the
            others follow when they have ended.
        added: How many of them, the last, have seeds that were added to those of the file.
        most_seeds: Up to how many seeds a cell may get; ``None`` where those of the file are all.
        asked: With ``choose``: what is asked for, at every learning rate; empty in a study read from its store.
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
    added: int = 0
    most_seeds: int | None = None
    asked: tuple[Trial, ...] = field(default=(), repr=False, compare=False)

    @property
    def waiting(self) -> int:
        """Trials that follow once learning rates are chosen, as far as they are not planned yet."""
        if self.choose is None:
            return 0
        key = self.choose.key
        follow = {(key(trial), trial.seed) for trial in self.asked}
        return len(follow - {(key(trial), trial.seed) for trial in self.trials})

    @property
    def command(self) -> str:
        """The shell command that runs this study again."""
        return shlex.join(["tieless", "study", "run", self.run_as, *(f"--set={text}" for text in self.overrides)])

    @property
    def yaml(self) -> str:
        """The study as a file that, read again, gives the same trials without overrides or fallback."""
        header = {"title": self.title, "question": self.question, "table": self.table, "core_hours": self.core_hours}
        written: dict[str, Any] = {**header, **self.settings}
        if self.choose is not None:
            written["choose"] = {name: _plain(value) for name, value in asdict(self.choose).items() if value}
        if self.claims:
            written["claims"] = [
                {"says": str(claim), "label": claim.label} if claim.label else str(claim) for claim in self.claims
            ]
        return yaml.safe_dump(written, sort_keys=False, width=100, allow_unicode=True)

    def to_dict(self) -> dict[str, Any]:
        record = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in {"trials", "asked"}}
        record["claims"] = [claim.to_dict() for claim in self.claims]
        record["choose"] = None if self.choose is None else asdict(self.choose)
        return record

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], trials: Sequence[Trial]) -> Study:
        """Read what ``to_dict`` wrote; a record that lacks what came later has none of it."""
        values = {f.name: record[f.name] for f in fields(cls) if f.name in record}
        values["overrides"] = tuple(record["overrides"])
        values["emptied"] = tuple(record.get("emptied", []))
        values["claims"] = tuple(Claim.from_dict(claim) for claim in record.get("claims", []))
        if (choose := record.get("choose")) is not None:
            values["choose"] = Choose(
                choose["validation"], tuple(choose["seeds"]), choose.get("epochs"), choose.get("confirm", False)
            )
        return cls(**values, trials=tuple(trials))


def _plain(value: object) -> object:
    return list(cast("tuple[object, ...]", value)) if isinstance(value, tuple) else value
