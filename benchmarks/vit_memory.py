"""What do few-bit derivatives save in a vision transformer, beside activation checkpointing, and at what price in time?

A ViT of 12 blocks (width 384, 6 heads, MLP ratio 4, random weights), a batch of 32 with 196 patch tokens each. `kept` is
what the allocator holds more when the forward pass has ended than before it: what waits for the backward pass. `peak`
is the most that it holds more at any moment of both passes. Parameters, their gradients and the batch were there before.
On a CPU both come from the allocator's events in PyTorch's profiler, on a GPU from its allocator's own counters. Time is
a training step with SGD, median of interleaved runs.

    python benchmarks/vit_memory.py [--blocks 12] [--batch 32] [--rounds 3] [--dtypes float32 bfloat16] [--device cuda]
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable

import torch
from interleaved import machine, medians
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tieless import Activation

WIDTH, HEADS, RATIO, TOKENS, PATCH, CLASSES = 384, 6, 4, 196, 768, 1000
MIB = 2**20
WAYS: dict[str, tuple[Callable[[], nn.Module], bool]] = {
    "native GELU": (nn.GELU, False),
    "gelu + regelu2": (lambda: Activation("gelu", "regelu2"), False),
    "gelu + few_bit(3)": (lambda: Activation("gelu", "few_bit(3)"), False),
    "native GELU, checkpointed blocks": (nn.GELU, True),
    "gelu + regelu2, checkpointed blocks": (lambda: Activation("gelu", "regelu2"), True),
}


class Block(nn.Module):
    """Attention, then an MLP, each behind a layer norm and beside a shortcut."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, RATIO * WIDTH), activation, nn.Linear(RATIO * WIDTH, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens to tokens."""
        queries, keys, values = self.qkv(self.norms[0](x)).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norms[1](x))


class ViT(nn.Module):
    """Patches to scores."""

    def __init__(self, blocks: int, activation: Callable[[], nn.Module], checkpointed: bool) -> None:
        super().__init__()
        self.embed = nn.Linear(PATCH, WIDTH)
        self.places = nn.Parameter(torch.randn(TOKENS, WIDTH) * 0.02)
        self.blocks = nn.ModuleList(Block(activation()) for _ in range(blocks))
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, CLASSES))
        self.checkpointed = checkpointed

    def forward(self, patches: Tensor) -> Tensor:
        """The scores of the mean token."""
        x = self.embed(patches) + self.places
        for block in self.blocks:
            x = checkpoint(block, x, use_reentrant=False) if self.checkpointed else block(x)
        return self.head(x.mean(1))


class Runner:
    """One network, trained one way."""

    def __init__(self, way: str, blocks: int, batch: int, dtype: torch.dtype, device: str) -> None:
        torch.manual_seed(0)
        self.net = ViT(blocks, *WAYS[way]).to(device, dtype)
        self.patches = torch.randn(batch, TOKENS, PATCH).to(device, dtype)
        self.target = torch.randint(0, CLASSES, (batch,)).to(device)
        self.optimiser = torch.optim.SGD(self.net.parameters(), lr=1e-3)
        for parameter in self.net.parameters():
            parameter.grad = torch.zeros_like(parameter)

    def loss(self) -> Tensor:
        """The forward pass."""
        return F.cross_entropy(self.net(self.patches).float(), self.target)

    def step(self) -> None:
        """One training step, to its end: a GPU is waited for."""
        self.optimiser.zero_grad(set_to_none=False)
        self.loss().backward()
        self.optimiser.step()
        if self.patches.is_cuda:
            torch.cuda.synchronize()

    def memory(self) -> tuple[int, int]:
        """Bytes kept between the passes, and the peak of both."""
        return self._memory_cuda() if self.patches.is_cuda else self._memory_cpu()

    def _memory_cuda(self) -> tuple[int, int]:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss = self.loss()
        kept = torch.cuda.memory_allocated() - before
        loss.backward()
        return kept, torch.cuda.max_memory_allocated() - before

    def _memory_cpu(self) -> tuple[int, int]:
        with torch.profiler.profile(profile_memory=True) as forward:
            loss = self.loss()
        with torch.profiler.profile(profile_memory=True) as backward:
            loss.backward()
        held = held_over_time(forward)
        return held[-1], max(*held, *(held[-1] + more for more in held_over_time(backward)))


def held_over_time(profile: torch.profiler.profile) -> list[int]:
    """Bytes that the CPU's allocator holds more than at the start, after each of its events."""
    changes = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return list(itertools.accumulate(event.nbytes() for event in changes))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--blocks", type=int, default=12, help="blocks of the ViT [12]")
    parser.add_argument("--batch", type=int, default=32, help="images in a batch [32]")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each [3]")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], help="[float32 bfloat16]")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch [all]")
    parser.add_argument("--device", default="cpu", help="cpu or cuda [cpu]")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    title = f"ViT, {options.blocks} blocks of width {WIDTH}, batch {options.batch}, {TOKENS} tokens, {options.device}"
    table = Table("dtype", "blocks", "MiB kept", "less", "MiB peak", "less", "s a step", "ratio", title=title)
    for dtype in options.dtypes:
        runners = {
            way: Runner(way, options.blocks, options.batch, getattr(torch, dtype), options.device) for way in WAYS
        }
        memory = {way: runner.memory() for way, runner in runners.items()}
        seconds = medians({way: runner.step for way, runner in runners.items()}, rounds=options.rounds)
        first, *_, last = WAYS
        for way, (kept, peak) in memory.items():
            table.add_row(
                dtype if way == first else "",
                way,
                f"{kept / MIB:.0f}",
                f"{1 - kept / memory[first][0]:.0%}",
                f"{peak / MIB:.0f}",
                f"{1 - peak / memory[first][1]:.0%}",
                f"{seconds[way]:.3g}",
                f"{seconds[way] / seconds[first]:.2f}",
                end_section=way == last,
            )
    console = Console(width=120)
    console.print(machine(), soft_wrap=True)
    console.print(table)


if __name__ == "__main__":
    main()
