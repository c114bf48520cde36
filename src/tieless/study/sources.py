"""Code of the user's own that a study relies on, so that a trial's id follows it and a worker has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tieless import own
from tieless.data.own import OwnSource, source_of
from tieless.errors import StudyError
from tieless.forwards import forward as forward_of
from tieless.models import model_spec
from tieless.rules import rule as rule_of, rule_schedule
from tieless.study.settings.losses import LOSSES
from tieless.study.settings.metrics import METRICS
from tieless.study.trial import Trial


@dataclass(frozen=True, slots=True)
class Imports:
    """Code of the user's own in a study.

    Args:
        named: Modules that the user has named: every trial relies on them, for an import may change anything.
    """

    named: tuple[own.Code, ...] = ()

    @classmethod
    def of(cls, names: Iterable[str]) -> Imports:
        """Import modules that the user has named.

        Raises:
            SpecError: a module cannot be imported.
        """
        return cls(tuple(own.use(name) for name in names))

    def with_registered(self, settings: Iterable[Mapping[str, Sequence[Any]]]) -> Imports:
        """The same with the modules that have registered what settings name, by whatever means they were imported.

        Args:
            settings: Values of each block of a study, by the name of the field.
        """
        modules = {module for axes in settings for name in axes for module in _modules(name, axes[name])}
        there = {part.module for code in self.named for part in code.parts}
        found = (own.code_of(module) for module in sorted(modules - there))
        return Imports((*self.named, *(code for code in found if code is not None)))

    def sources(self, data: str) -> str:
        """Modules, and data of the user's own, each with the beginning of its hash, as a trial stores them."""
        labels = sorted(code.label for code in self.named)
        return ", ".join([*labels, *_label_of(data)])

    @property
    def to_send(self) -> tuple[own.Code, ...]:
        """Code that a worker has to import: a script is imported there as what it is."""
        return tuple(code for code in self.named if not code.script)


def _label_of(data: str) -> list[str]:
    source = source_of(data)
    return [source.label] if isinstance(source, OwnSource) else []


def check_data(trial: Trial) -> None:
    """Check that data of the user's own are those of the trial's id.

    Raises:
        StudyError: they have changed since the study was read.
    """
    for label in _label_of(trial.data):
        # Data that are not there are not changed: to load them is what fails.
        if trial.sources and not label.endswith("?") and label not in trial.sources.split(", "):
            raise StudyError(f"{trial.data} has changed since the study was read: run the study again.")


def _modules(field: str, values: Sequence[Any]) -> Iterator[str]:
    """Modules of the classes and functions that specs name."""
    for value in values:
        if field == "forward":
            yield type(forward_of(value)).__module__
        elif field == "model":
            yield type(model_spec(value)).__module__
        elif field == "data":
            yield type(source_of(value)).__module__
        elif field == "loss":
            yield LOSSES[value].mean.__module__
        elif field == "metric":
            yield METRICS[value].compute.__module__
        elif field == "backward":
            schedule = rule_schedule(value)
            rules = [rule_of(value)] if schedule is None else schedule.kinds()
            yield from (type(part).__module__ for one in rules for part in one.parts())
