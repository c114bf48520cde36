"""Many programs, in processes that may crash: the output about a program is written before it runs."""

from __future__ import annotations

import faulthandler
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import MISSING, dataclass, field, fields, replace
from random import Random
from typing import Protocol

from tests.alone import ending
from tests.judge.drawing import drawn_by
from tests.judge.forwards import FORWARDS
from tests.judge.programs import Program
from tests.judge.rules import RULES
from tieless.errors import TielessError

__all__ = ["Program", "Tally", "campaign", "drawn", "simplest", "told", "work", "worker"]

_LONGEST = 300
"""Number of seconds that a program may take. A longer one ends its process, with the stack, and is a finding."""


class Runnable(Protocol):
    """Program: printed as Python, and run."""

    def run(self) -> int: ...


@dataclass
class Tally:
    """Results of many programs.

    Args:
        programs: Number of programs that ran.
        elements: Number of elements that were judged.
        wrong: Failing programs, each with its fault, as lines.
        refused: Numbers of programs refused with an error of the library, by its kind.
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
        wrong = [f"{what}\n    {line_of(program)}" for program, what in self.wrong]
        counts = f"{self.programs} programs, {self.elements} elements, {len(self.wrong)} wrong"
        return "\n".join([f"{counts}, {self.refused.total()} refused", *lines, *wrong])


_NAMED = re.compile(rf"'[^']*'|\b(?:{'|'.join([*FORWARDS, *RULES])})\b(?:\([^)]*\))?|\([^)]*\)|[-+]?\d[\w.+-]*")


def line_of(program: str) -> str:
    """Line of Python that runs a program, from the root of the repository."""
    return f"from tests.judge.programs import Program; {program}.run()"


def kind_of(error: Exception) -> str:
    """Kind of a refusal: its class, and its first words without specs and numbers."""
    words = _NAMED.sub("N", str(error).partition("\n")[0])
    return f"{type(error).__name__}: {words[:40]}"


def work(programs: Iterable[Runnable]) -> None:
    """Run programs, and write the running one and its result to the standard output."""
    faulthandler.enable()
    for program in programs:
        faulthandler.dump_traceback_later(_LONGEST, exit=True)
        _tell({"program": repr(program)})
        try:
            _tell({"elements": program.run()})
        except Exception as raised:  # noqa: BLE001  (whatever it is, it is a finding)
            # Dynamo wraps an error that a backend raises.
            error = getattr(raised, "inner_exception", raised)
            if isinstance(error, TielessError):
                _tell({"refused": kind_of(error)})
                continue
            _tell({"wrong": f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"})
    faulthandler.cancel_dump_traceback_later()


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def told(command: Sequence[str]) -> Tally:
    """Results that a working process reports. One that ends in the middle of a program has a finding."""
    tally, running = Tally(), None
    with tempfile.TemporaryFile("w+") as errors:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
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
        code = process.returncode
        errors.seek(0)
        said = errors.read()
    if running is not None:
        tally.wrong.append((running, f"{ending(code)}: {' '.join(said.split())[:300]}"))
    elif code:
        raise RuntimeError(f"the worker ended with {ending(code)}\n{said}")
    return tally


def drawn(seed: str, count: int) -> None:
    """Draw a number of programs and work on them."""
    chance = Random(seed)
    work(drawn_by(chance) for _ in range(count))


def worker(call: str) -> Tally:
    """Result of a call of this file's, in a process of its own."""
    return told([sys.executable, "-W", "ignore", "-c", f"from tests.judge.fuzz import *; {call}"])


def simplest(program: str) -> str:
    """Simplest version of a failing program. Each try is a process, for some crash."""
    for simpler in map(repr, _simpler(eval(program))):  # noqa: S307  (it is our own)
        if worker(f"work([{simpler}])").wrong:
            return simplest(simpler)
    return program


def _simpler(program: Program) -> Iterator[Program]:
    """Programs with one part less."""
    calls = program.rule.split(" >> ")
    without = [calls[:place] + calls[place + 1 :] for place in range(len(calls) if len(calls) > 1 else 0)]
    plain = {field.name: field.default for field in fields(Program) if field.default is not MISSING}
    for name, value in [
        *[("rule", " >> ".join(rest)) for rest in without],
        ("forward", "linear"),
        *(plain | {"shape": (8,)}).items(),
    ]:
        if getattr(program, name) != value:
            yield replace(program, **{name: value})


def campaign(programs: int, seed: int, workers: int = 1) -> Tally:
    """Run a number of programs, in a number of processes at a time. A process that crashed is replaced."""

    def share(place: int) -> Tally:
        tally, start = Tally(), 0
        wanted = programs * (place + 1) // workers - programs * place // workers
        while tally.programs < wanted:
            tally.add(worker(f"drawn('{seed} {place} {start}', {wanted - tally.programs})"))
            start += 1
        return tally

    with ThreadPoolExecutor(workers) as pool:
        total = Tally()
        for tally in pool.map(share, range(workers)):
            total.add(tally)
    return total
