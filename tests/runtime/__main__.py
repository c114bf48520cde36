"""Files of packed networks, changed at random, through all that reads one: ``python -m tests.runtime``.

Each file is read with a count of the memory that reading takes. What is read as a network all the same is run by the
reference and by the kernels, whose integers have to be equal, and exported to C and to ONNX, where it can be refused by name.
A crash, an error that is not the project's, or memory beyond what the format promises ends the command with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from tests.runtime.mutated import mutated, originals, outcome

PART = 1000
"""Number of files for one call in a process of its own."""


def outcomes(seed: int, files: int) -> Counter[str]:
    """Number of files that came to each end."""
    rng, found = np.random.default_rng(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        path, first = Path(folder) / "net.safetensors", originals(Path(folder))
        for index in range(files):
            path.write_bytes(mutated(rng, first))
            try:
                found[outcome(path)] += 1
            except Exception as error:  # noqa: BLE001  (whatever it is, it is counted)
                kept = Path(tempfile.gettempdir()) / f"mutated-{seed}-{index}.safetensors"
                kept.write_bytes(path.read_bytes())
                found[f"WRONG: {type(error).__name__}: {error} ({kept})"] += 1
    return found


def main() -> int:
    """Print the counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.runtime", description=__doc__)
    parser.add_argument("--files", type=int, default=100_000, help="number of files")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first of them")
    parser.add_argument("--workers", type=int, default=1, help="number of processes")
    given = parser.parse_args()
    sizes = [min(PART, given.files - start) for start in range(0, given.files, PART)]
    found = Counter[str]()
    # A crash of a process is a BrokenProcessPool here.
    with ProcessPoolExecutor(given.workers) as pool:
        for part in pool.map(outcomes, range(given.seed, given.seed + len(sizes)), sizes):
            found += part
    for what, count in sorted(found.items(), key=lambda each: -each[1]):
        print(f"{count:>8,}  {what}")
    return int(any(what.startswith("WRONG") for what in found))


if __name__ == "__main__":
    sys.exit(main())
