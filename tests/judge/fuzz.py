"""Many programs, in processes that may crash: what is told of a program is written down before it runs."""

from __future__ import annotations

import faulthandler
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from random import Random

from tests.alone import ending

__all__ = ["Tally", "campaign", "told", "work"]

_LONGEST = 300
"""Seconds that a program may take. One that takes longer ends its process, with the stack, and is a finding."""


@dataclass
class Tally:
    """What came of many programs.

    Args:
        programs: How many ran.
        elements: How many numbers were judged.
        wrong: A program, and what is wrong with it: each a line.
        refused: How many were refused with an error of the library, by its kind.
    """

    programs: int = 0
    elements: int = 0
    wrong: list[tuple[str, str]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> Tally:
        self.programs += other.programs
        self.elements += other.elements
        self.wrong += other.wrong
        self.refused += other.refused
        return self

    def __str__(self) -> str:
        lines = [f"  {kind}: {count}" for kind, count in self.refused.most_common()]
        wrong = [f"{what}\n    {program}" for program, what in self.wrong]
        return "\n".join(
            [
                f"{self.programs} programs, {self.elements} elements, {len(self.wrong)} wrong, "
                f"{self.refused.total()} refused",
                *lines,
                *wrong,
            ]
        )


def kind_of(error: Exception) -> str:
    """The kind of a refusal: its class, and its words without numbers and specs."""
    words = re.sub(r"\([^)]*\)|[-+]?\d[\w.+-]*", "N", str(error).splitlines()[0])
    return f"{type(error).__name__}: {words[:60]}"


def work(programs: Iterable[object]) -> None:
    """Run programs, and write to the standard output what runs and what came of it."""
    from tieless.errors import TielessError

    faulthandler.enable()
    for program in programs:
        faulthandler.dump_traceback_later(_LONGEST, exit=True)
        _tell({"program": str(program)})
        try:
            _tell({"elements": program.run()})
        except TielessError as error:
            _tell({"refused": kind_of(error)})
        except Exception as error:  # noqa: BLE001  (whatever it is, it is a finding)
            first = str(error).strip().splitlines()[:1]
            _tell({"wrong": f"{type(error).__name__}: {''.join(first)}"})
    faulthandler.cancel_dump_traceback_later()


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def told(command: Sequence[str]) -> Tally:
    """What a process that works tells. One that ends in the middle of a program has a finding."""
    tally, running = Tally(), None
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        for line in process.stdout:
            match json.loads(line):
                case {"program": program}:
                    running, tally.programs = program, tally.programs + 1
                case {"elements": count}:
                    running, tally.elements = None, tally.elements + count
                case {"refused": kind}:
                    running = None
                    tally.refused[kind] += 1
                case {"wrong": what}:
                    tally.wrong.append((running, what))
                    running = None
        code = process.wait()
        errors.seek(0)
        said = errors.read()
    if running is not None:
        tally.wrong.append((running, f"{ending(code)}: {' '.join(said.split())[:300]}"))
    elif code:
        raise RuntimeError(f"the worker ended with {ending(code)}\n{said}")
    return tally


def drawn(seed: str, count: int) -> None:
    """Draw so many programs and work on them."""
    from tests.judge.drawing import drawn_by

    chance = Random(seed)
    work(drawn_by(chance) for _ in range(count))


def campaign(programs: int, seed: int, workers: int = 1) -> Tally:
    """So many programs, in so many processes at a time. A process that crashed is replaced."""

    def share(place: int) -> Tally:
        tally, start = Tally(), 0
        wanted = programs * (place + 1) // workers - programs * place // workers
        while tally.programs < wanted:
            code = f"from tests.judge.fuzz import drawn; drawn('{seed} {place} {start}', {wanted - tally.programs})"
            tally.add(told([sys.executable, "-W", "ignore", "-c", code]))
            start += 1
        return tally

    with ThreadPoolExecutor(workers) as pool:
        total = Tally()
        for tally in pool.map(share, range(workers)):
            total.add(tally)
    return total
