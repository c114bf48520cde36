"""Helpers of all benchmarks: taking turns, medians, and naming the machine.

Run by itself it names the machine.
"""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch

import tieless

__all__ = ["machine", "medians", "results_in_turns"]


def machine() -> str:
    """The processor, its threads, and the versions that matter."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    except OSError:
        pass  # not Linux: the platform's own word has to do
    return (
        f"{name}, {torch.get_num_threads()} thread(s), {torch.backends.cpu.get_cpu_capability()}, "
        f"torch {torch.__version__}, tieless {tieless.__version__}"
    )


def _settle_allocator() -> None:
    """Let glibc keep what is freed, as it does in a process that has freed a large block before.

    Until then it gives memory back to the system at a threshold that follows the largest block freed so far, and takes it
    back page by page. A few bytes more or less decide which side of the threshold a case is on: native ReLU took 220 or
    390 us at 2^18.
    """
    block = torch.empty(8_000_000)  # as large as the threshold gets: 32 MB
    del block


def medians(
    cases: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    seconds: float = 0.01,
    clock: Callable[[], float] = time.perf_counter,
    rest: float = 0,
) -> dict[str, float]:
    """Seconds of one call of each case: the median over rounds in which they take turns.

    Args:
        cases: Functions to call, by name.
        rounds: Number of turns that each case gets, after one that does not count.
        seconds: Seconds that a turn lasts, about.
        clock: Clock; ``time.process_time`` leaves out what other processes take, if all run in one thread.
        rest: Seconds of rest before each turn, and a call that does not count. Other libraries' threads spin for a while
            behind a call, on a core that the next case needs.
    """
    _settle_allocator()
    repeats: dict[str, int] = {}
    for name, call in cases.items():
        call()
        start = clock()
        call()
        repeats[name] = max(1, int(seconds / (clock() - start + 1e-9)))

    def turn(name: str) -> float:
        if rest:
            time.sleep(rest)
            cases[name]()
        start = clock()
        for _ in range(repeats[name]):
            cases[name]()
        return (clock() - start) / repeats[name]

    taken = results_in_turns({name: partial(turn, name) for name in cases}, rounds=rounds)
    return {name: statistics.median(times) for name, times in taken.items()}


def results_in_turns(cases: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, list[float]]:
    """Results of each case, once a round."""
    taken: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, call in cases.items():
            taken[name].append(call())
    return taken


if __name__ == "__main__":
    print(machine())
