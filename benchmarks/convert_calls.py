"""What does it cost to reach a call of an activation in somebody's code?

A module calls ``F.relu`` once, among nine additions, on 16 numbers, so that nothing but the calls counts. Its forward
runs as it is; with its source exchanged by ``convert``, the call left alone and converted; and in a
``TorchFunctionMode`` that exchanges the call, which is what ``convert`` does not do.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

import tieless as tl

CALLS, ROUNDS = 2000, 9


class Net(nn.Module):
    """Ten operations, one of them an activation."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(9):
            x = x + x
        return F.relu(x)


class Both(Net):
    """The same with a second activation, which is converted while the first is left alone."""

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(9):
            x = x + x
        if x is None:
            x = torch.tanh(x)
        return F.relu(x)


class Exchange(TorchFunctionMode):
    """Unties ``F.relu`` while it is entered."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.relu:
            return tl.untie(args[0], "relu", "constant")
        return func(*args, **(kwargs or {}))


def untied(x: Tensor) -> Tensor:
    """As somebody would write it who owns the code."""
    for _ in range(9):
        x = x + x
    return tl.untie(x, "relu", "constant")


def main() -> None:
    """Print the table."""
    torch.set_num_threads(1)
    x = torch.randn(16, requires_grad=True)
    native, left, converted = Net(), tl.convert(Both(), {"tanh@1": "constant"}), tl.convert(Net(), backward="constant")
    net = Net()

    def in_mode() -> Tensor:
        with Exchange():
            return net(x)

    cases: dict[str, Callable[[], Tensor]] = {
        "as it is": lambda: native(x),
        "source exchanged, the call left alone": lambda: left(x),
        "source exchanged, the call converted": lambda: converted(x),
        "written by hand with untie": lambda: untied(x),
        "in a mode that exchanges the call": in_mode,
    }
    times: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, run in cases.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                run()
            times[name].append((time.perf_counter() - start) / CALLS * 1e6)
    print(f"{'forward of nine additions and a relu':<40} us")
    for name, measured in times.items():
        print(f"{name:<40} {statistics.median(measured):.1f}")


if __name__ == "__main__":
    main()
