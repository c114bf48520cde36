"""Display of a running study: a bar with the time left and the latest results, or plain lines in a log."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from tieless.report import words
from tieless.report.words import Labels
from tieless.study import Epoch, Event, Finished, Notice, Result, Retried, Started, Trial, Waiting

_LATEST = 8
_STYLES = {"done": "green", "diverged": "yellow", "failed": "red"}


def outcome(result: Result) -> Text:
    """End of a trial in words, which the latest results have below each other."""
    text = Text(words.ended(result).rjust(8), style=_STYLES[result.status])
    return text.append(" single class", style="yellow") if result.one_class else text


def _told(event: Waiting | Notice) -> str:
    if isinstance(event, Notice):
        return event.text
    return f"Waiting: another program holds {event.file}. What ends meanwhile is kept."


class _Lines:
    """Output of one line for each trial that ends, for a log or a pipe."""

    def __init__(self, console: Console, labels: Labels) -> None:
        self._console, self._labels = console, labels
        self._total = self._ended = 0

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self._total, self._ended = event.planned, event.skipped
        elif isinstance(event, Finished):
            self._ended += 1
            self._say(
                f"[{self._ended}/{self._total}] {self._labels(event.result.trial)}: {outcome(event.result).plain.strip()}"
            )
        elif isinstance(event, Retried):
            self._say(f"{self._labels(event.trial)}: worker {event.reason}, starting it again")
        elif isinstance(event, (Waiting, Notice)):
            self._say(_told(event))

    def _say(self, line: str) -> None:
        self._console.print(Text(line), soft_wrap=True)


class _Board:
    """Output of the latest results above a bar that counts epochs, for trials of a study differ in their number."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._latest: deque[Text] = deque(maxlen=_LATEST)
        self._reached: dict[Trial, int] = {}
        self._bar = Progress(
            TextColumn("{task.fields[ended]}/{task.fields[planned]} trials"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:3.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            # The mean over the whole run: trials take minutes, and the default window of 30 s would see one.
            speed_estimate_period=float("inf"),
            expand=True,
        )
        self._task: TaskID = self._bar.add_task("", total=None, ended=0, planned=0)

    def __rich__(self) -> Group:
        return Group(*self._latest, self._bar)

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            # A later round comes on top of what is done.
            done = self._bar.tasks[0].completed
            total = sum(trial.epochs for trial in event.trials)
            self._bar.update(self._task, total=done + (total or 1), ended=event.skipped, planned=event.planned)
            self._bar.advance(self._task, 0 if total else 1)  # nothing to run is all of it
        elif isinstance(event, Epoch):
            self._reached[event.trial] = self._reached.get(event.trial, 0) + 1
            self._bar.advance(self._task)
        elif isinstance(event, Finished):
            trial = event.result.trial
            self._latest.append(Text.assemble(outcome(event.result), "  ", (self._labels(trial), "dim")))
            self._bar.advance(self._task, trial.epochs - self._reached.pop(trial, 0))
            self._bar.update(self._task, ended=self._bar.tasks[0].fields["ended"] + 1)
        elif isinstance(event, (Waiting, Notice)):
            self._latest.append(Text(_told(event), "yellow"))
        else:
            self._latest.append(
                Text(f"{self._labels(event.trial)}: worker {event.reason}, starting it again", "yellow")
            )
            self._bar.advance(self._task, -self._reached.pop(event.trial, 0))


@contextlib.contextmanager
def show_progress(console: Console, trials: Sequence[Trial]) -> Generator[Callable[[Event], None]]:
    """Context with a listener for ``tieless.study.run`` that shows the progress."""
    labels = Labels(trials)
    if not console.is_terminal:
        yield _Lines(console, labels)
        return
    board = _Board(labels)
    with Live(board, console=console, refresh_per_second=4):
        yield board
