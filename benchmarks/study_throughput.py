"""How fast does a study train, on one core and on two, beside a script as they are published? LeNet-5, full_jam, batch 64.

The script has a ``Dataset`` that makes an image and a tensor of each sample, a ``DataLoader``, freegrad's activation and rule,
and reads loss and accuracy after each step. The trial is one of a study. Both take turns in this process, on one thread, on
the same random images. Then whole studies run on one and on two processes, and one whose trials do nothing.

    pip install --no-deps --target build/peers freegrad==1.0.1
    python benchmarks/study_throughput.py [--path build/peers] [--rounds 5] [--steps 100]
"""

from __future__ import annotations

import argparse
import contextvars
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from interleaved import machine, results_in_turns
from peers import load
from PIL import Image
from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from tieless import Activation
from tieless.models import LeNet5
from tieless.study import EpochRecord, Finished, Result, Study, Trial, parse_study, run
from tieless.study.running.training import run_trial

BATCH = 64
STUDY = """
title: Throughput
question: How fast does it train?
core_hours: 0
grid: {data: fashion-mnist, model: lenet5, forward: relu, backward: full_jam, optimiser: adam, learning_rate: 0.001, batch: 64, epochs: 1,
       seeds: [0]}
"""


class Samples(Dataset[tuple[Tensor, int]]):
    """Samples as public scripts make them: an image, then a tensor of it, each time that one is asked for."""

    def __init__(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any]) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[index])
        x = torch.from_numpy(np.array(image)).unsqueeze(0).to(torch.float32).div(255)
        return x, int(self.labels[index])


class Script:
    """Endless training as a public script writes it, taken a number of steps at a time."""

    def __init__(self, images: np.ndarray[Any, Any], labels: np.ndarray[Any, Any], freegrad: Any) -> None:
        torch.manual_seed(0)
        self.net = LeNet5("relu", "tied")
        for i, layer in enumerate(self.net):
            if isinstance(layer, Activation):
                self.net[i] = freegrad.Activation("ReLU")
        self.context = contextvars.copy_context()
        self.context.run(freegrad.use(rule="full_jam").__enter__)
        self.loader = DataLoader(Samples(images, labels), batch_size=BATCH, shuffle=True)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=1e-3)
        self.batches = self.endless()
        self.loss, self.correct = 0.0, 0

    def endless(self) -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            yield from self.loader

    def turn(self, steps: int) -> float:
        """CPU seconds of a step."""
        clock = time.process_time()
        for _ in range(steps):
            x, y = next(self.batches)
            self.optimiser.zero_grad()
            outputs = self.context.run(self.net, x)
            loss = nn.functional.cross_entropy(outputs, y)
            loss.backward()
            self.optimiser.step()
            self.loss += loss.item()
            self.correct += int((outputs.argmax(1) == y).sum().item())
        return (time.process_time() - clock) / steps


def turn_of_a_trial(trial: Trial) -> float:
    """CPU seconds of a step of a trial, without its start and its end."""
    moments: list[float] = []
    result = run_trial(trial, on_step=lambda *_: moments.append(time.process_time()))
    if result.status != "done":
        raise SystemExit(f"The trial {result.status}: {result.error}")
    return (moments[-1] - moments[0]) / (len(moments) - 1)


def nothing(trial: Trial, *, on_epoch: Callable[[EpochRecord], None] | None = None) -> Result:
    """Result of a trial that does nothing."""
    return Result(trial=trial, status="done")


def seconds_a_trial(study: Study, workers: int, **options: Any) -> float:
    """Wall seconds from one trial's end to the next's, without the start of the processes."""
    ends: list[float] = []

    def listen(event: object) -> None:
        if isinstance(event, Finished):
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        run(study, Path(folder), workers=workers, listen=listen, **options)
    # Those that end together first are the processes' first trials.
    return (ends[-1] - ends[workers - 1]) / (len(ends) - workers)


def main() -> None:
    """Print the numbers."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--path", default="build/peers", help="where the peers were installed [build/peers]")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each [5]")
    parser.add_argument("--steps", type=int, default=100, help="steps of a turn [100]")
    parser.add_argument("--trials", type=int, default=12, help="trials of a study [12]")
    options = parser.parse_args()
    sys.path.append(options.path)
    torch.set_num_threads(1)
    console = Console(width=120, highlight=False)
    console.print(machine(), soft_wrap=True)
    freegrad, line = load("freegrad")
    console.print(line, soft_wrap=True)
    chance = np.random.default_rng(0)
    images = chance.integers(0, 256, (options.steps * BATCH, 28, 28), dtype=np.uint8)
    labels = chance.integers(0, 10, len(images))
    labels[:10] = range(10)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "images.npz")
        x = images[:, None].astype(np.float32) / 255
        np.savez(data, train_x=x, train_y=labels, test_x=x[:10], test_y=labels[:10])
        study = parse_study(STUDY, name="throughput", overrides=[f"data={data}", f"seeds=0..{options.trials - 1}"])
        cases: dict[str, Callable[[], float]] = {"study": lambda: turn_of_a_trial(study.trials[0])}
        if freegrad is not None:
            script = Script(images, labels, freegrad)
            cases["script"] = lambda: script.turn(options.steps)
        for case in cases.values():
            case()
        taken = {
            name: statistics.median(found) for name, found in results_in_turns(cases, rounds=options.rounds).items()
        }
        for name, seconds in taken.items():
            console.print(f"{name}: {1000 * seconds:.2f} ms of CPU a step, {1 / seconds:.0f} steps a second and core")
        if freegrad is not None:
            console.print(f"study over script: {taken['script'] / taken['study']:.2f} times the throughput")
        processes = {f"{count}": lambda count=count: seconds_a_trial(study, count) for count in (1, 2)}
        whole = {name: statistics.median(found) for name, found in results_in_turns(processes, rounds=1).items()}
        console.print(
            f"1 process: {whole['1']:.2f} s a trial; 2: {whole['2']:.2f} s, {whole['1'] / whole['2']:.2f} times as many"
        )
        empty = parse_study(STUDY, name="empty", overrides=[f"data={data}", f"seeds=0..{10 * options.trials - 1}"])
        overhead = seconds_a_trial(empty, 1, run_trial=nothing)
        console.print(f"runner: {1000 * overhead:.1f} ms for a trial that does nothing")


if __name__ == "__main__":
    main()
