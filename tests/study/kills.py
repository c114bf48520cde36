"""Kill a study again and again at random moments, then run it to its end, and compare it with an undisturbed run.

With real training::

    python -m tests.study.kills quickstart --set subset=2000 --workers 2

which prints what happened, and ends with an assertion where a number differs or a finished trial was run twice.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tieless.errors import StudyError
from tieless.study import Result, Store


def stored(folder: Path) -> dict[str, Result]:
    """Results that the store has by now; none where there is no store yet."""
    try:
        with Store.open(folder) as store:
            return {result.trial.id: result for result in store.results()}
    except StudyError:
        return {}


def finished(folder: Path) -> int:
    """Number of results that the store has by now; asked often, so that none of them is read."""
    try:
        with Store.open(folder) as store:
            return len(store.finished_ids())
    except StudyError:
        return 0


def without_times(result: Result) -> Result:
    epochs = tuple(replace(record, seconds=0.0) for record in result.epochs)
    return replace(result, epochs=epochs, seconds=0.0, started="")


def start(study: Sequence[str], folder: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-c",
        "from tieless.cli import main; main()",
        "study",
        "run",
        *study,
        "--out",
        str(folder),
    ]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)


def run_to_the_end(study: Sequence[str], folder: Path) -> None:
    process = start(study, folder)
    assert process.wait() == 0


def run_and_kill(study: Sequence[str], folder: Path, new: int, delay: float) -> None:
    """Start it, wait for ``new`` results more than there are, then ``delay`` seconds, and kill it with SIGKILL."""
    before = finished(folder)
    process = start(study, folder)
    while finished(folder) < before + new and process.poll() is None:
        time.sleep(0.02)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    process.wait()


def survive(study: Sequence[str], folder: Path, *, kills: int, seed: int, tell=lambda _: None) -> None:
    """Assert that ``kills`` kills change nothing in the results of ``study``: what stands behind ``tieless study run``."""
    chance = random.Random(seed)
    run_to_the_end(study, folder / "undisturbed")
    undisturbed = stored(folder / "undisturbed")
    tell(f"undisturbed: {len(undisturbed)} results")
    seen: dict[str, Result] = {}
    for kill in range(kills):
        new = chance.randint(0, max(1, len(undisturbed) // kills))
        delay = chance.uniform(0, 3) if new == 0 else chance.uniform(0, 0.3)
        run_and_kill(study, folder / "killed", new, delay)
        now = stored(folder / "killed")
        tell(f"kill {kill + 1}, {delay:.2f} s after {new} new results: {len(now)} results")
        # Equal to the second and the start: a trial that was run again would have others.
        assert {key: now.get(key) for key in seen} == seen
        seen = now
    run_to_the_end(study, folder / "killed")
    results = stored(folder / "killed")
    assert {key: results.get(key) for key in seen} == seen
    assert list(map(without_times, results.values())) == list(map(without_times, undisturbed.values()))
    tell(f"to the end: {len(results)} results, number for number those of the undisturbed run")


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    options, study = parser.parse_known_args()
    say(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        survive(study, Path(folder), kills=options.kills, seed=options.seed, tell=say)


if __name__ == "__main__":
    main()
