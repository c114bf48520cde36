"""What does ``import tieless`` add to ``import torch``? The aim is under 0.2 s."""

from __future__ import annotations

import statistics
import subprocess
import sys

REPEATS = 7
CLOCK = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"


def seconds(statement: str) -> float:
    """Median over fresh interpreters; one run before the first brings the files into memory."""
    command = [sys.executable, "-c", CLOCK.format(statement)]
    runs = [
        float(subprocess.run(command, capture_output=True, text=True, check=True).stdout) for _ in range(REPEATS + 1)
    ]
    return statistics.median(runs[1:])


def main() -> None:
    """Print the table."""
    torch, both = seconds("import torch"), seconds("import torch, tieless")
    print(f"seconds, median of {REPEATS} fresh interpreters")
    for name, value in {"import torch": torch, "import torch, tieless": both, "tieless adds": both - torch}.items():
        print(f"  {name:<22} {value:6.3f}")


if __name__ == "__main__":
    main()
