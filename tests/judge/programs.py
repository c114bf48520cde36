"""Program: one activation under one circumstance, run and judged. Its parts are data, so it can be printed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tests.judge import verdict
from tests.judge.layouts import constant_along, laid_out
from tests.judge.numbers import FORMATS, Array
from tests.judge.verdict import WrongError
from tieless import untie

__all__ = ["Given", "Program", "Result", "keys"]

KINKS = [0.0, -0.0, 0.5, -0.5, 1.0, -1.0, 1.5, 2.0, 2.5, -3.0, 3.0, 6.0, 0.25]
"""Values at which forwards and rules have their edges."""
BEYOND = [math.inf, -math.inf, math.nan, 65504.0, -60000.0, 1e-7, -88.0, 30.0]


def keys(seed: int, count: int) -> list[int]:
    """Keys of so many calls after ``torch.manual_seed(seed)``, as docs/concepts.md has them."""
    generator = torch.Generator().manual_seed(seed)
    return [int(torch.empty((), dtype=torch.int64).random_(-(2**63), None, generator=generator)) for _ in range(count)]


@dataclass(frozen=True)
class Result:
    """Result of one call: of a whole program, or of one example of it.

    Args:
        y: Value; None if the circumstance hides it.
        gradient: Gradient that arrived at ``z``; None likewise.
        z, feedback: Inputs, as the program's numbers.
        call: Index among the program's calls, in the order in which they draw keys.
        like: Tensor whose layout both results have; None if layout is not promised.
    """

    y: Tensor | None
    gradient: Tensor | None
    z: Array
    feedback: Array
    call: int = 0
    like: Tensor | None = None


@dataclass(frozen=True)
class Given:
    """Inputs of a circumstance.

    Args:
        program: Program to run.
        z, feedback: Numbers.
        leaf: Leaf ``z`` that requires a gradient, laid out as the program says.
        sent: Tensor ``feedback``, laid out likewise.
    """

    program: Program
    z: Array
    feedback: Array
    leaf: Tensor
    sent: Tensor

    def untie(self, z: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return untie(z, self.program.forward, self.program.rule, generator=generator)

    def seeded(self) -> None:
        torch.manual_seed(self.program.seed)

    def whole(self, y: Tensor | None, gradient: Tensor | None, call: int = 0) -> Result:
        """Call of the whole tensor."""
        return Result(y, gradient, self.z, self.feedback, call, self.leaf)


@dataclass(frozen=True)
class Program:
    """One activation, given numbers, under a circumstance.

    Args:
        forward, rule: Specs.
        dtype: Dtype of ``z``.
        shape: Shape of ``z``.
        layout: Layout of ``z``, a name of ``layouts.LAYOUTS``.
        sent: Layout of the feedback, likewise, or ``"zero"`` for PyTorch's tensor that is known to be 0.
        circumstance: Name of ``circumstances.CIRCUMSTANCES``.
        seed: Seed of the numbers and of the keys.
        scale: Binary exponent that the feedback is multiplied with.
        beyond: True if numbers that are not finite or far out are among ``z``.
    """

    forward: str
    rule: str
    dtype: str = "float32"
    shape: tuple[int, ...] = (4, 8)
    layout: str = "contiguous"
    sent: str = "contiguous"
    circumstance: str = "plain"
    seed: int = 0
    scale: int = 0
    beyond: bool = False

    def __repr__(self) -> str:
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = type(self)("", "")
        told = [f"{k}={v!r}" for k, v in fields.items() if k in {"forward", "rule"} or v != getattr(plain, k)]
        return f"Program({', '.join(told)})"

    def given(self) -> Given:
        """Numbers, and the tensors that hold them."""
        chance = np.random.default_rng(self.seed)
        format_ = FORMATS[self.dtype]
        kind = chance.random(self.shape)
        z = np.where(kind < 0.5, 2 * chance.standard_normal(self.shape), chance.choice(KINKS, self.shape))
        z = np.where(kind > 0.9, 12 * chance.standard_normal(self.shape), z)
        if self.beyond:
            z = np.where(chance.random(self.shape) < 0.2, chance.choice(BEYOND, self.shape), z)
        z = constant_along(self.layout, format_.nearest(z))
        quarters = chance.integers(-9, 10, self.shape) / 4
        feedback = np.where(chance.random(self.shape) < 0.5, quarters, chance.standard_normal(self.shape))
        feedback = feedback * 0 if self.sent == "zero" else np.ldexp(feedback, self.scale)
        feedback = constant_along(self.sent, format_.nearest(feedback))
        dtype = getattr(torch, self.dtype)
        sent = (
            torch._efficientzerotensor(self.shape, dtype=dtype)
            if self.sent == "zero"
            else laid_out(self.sent, feedback, self.dtype)
        )
        return Given(self, z, feedback, laid_out(self.layout, z, self.dtype).requires_grad_(), sent)

    def run(self) -> int:
        """Run and judge the program. Returns the number of elements that were judged."""
        from tests.judge.circumstances import CIRCUMSTANCES

        results = list(CIRCUMSTANCES[self.circumstance](self.given()))
        drawn = keys(self.seed, 1 + max((result.call for result in results), default=0))
        return sum(self.judged(result, drawn[result.call]) for result in results)

    def judged(self, result: Result, key: int) -> int:
        """Judge the result of a call that has this key, if it draws; return the number of elements."""
        count = 0
        with np.errstate(all="ignore"):
            for what, tensor in (("y", result.y), ("gradient", result.gradient)):
                if tensor is None:
                    continue
                self._formed(what, tensor, result)
                if tensor.is_meta:
                    continue
                got = tensor.detach().clone().to(torch.float64).resolve_neg().numpy()
                if what == "y":
                    near = verdict.value(self.forward, result.z, self.dtype, key)
                else:
                    near = verdict.sent(self.forward, self.rule, result.z, result.feedback, self.dtype, key)
                    if self.shape and not result.z.ndim and self.dtype in {"float16", "bfloat16"}:
                        # Under vmap PyTorch rounds a factor to the dtype of a single number.
                        near = near.to(FORMATS[self.dtype]).widened(near.low, near.high, 2)
                verdict.judge(what, got, near, result.z)
                count += got.size
        return count

    def _formed(self, what: str, tensor: Tensor, result: Result) -> None:
        if tensor.dtype != getattr(torch, self.dtype):
            raise WrongError(f"{what} is {tensor.dtype}")
        if tuple(tensor.shape) != result.z.shape:
            raise WrongError(f"{what} has the shape {tuple(tensor.shape)}, not {result.z.shape}")
        if result.like is None:
            return
        if tensor.device != result.like.device:
            raise WrongError(f"{what} is on {tensor.device}, not on {result.like.device}")
        expected = torch.empty_like(result.like, device="meta").stride()
        # A dimension of one element, and a tensor of none, has any stride.
        steps = [(a, b) for size, a, b in zip(tensor.shape, tensor.stride(), expected, strict=True) if size > 1]
        if tensor.numel() and any(a != b for a, b in steps):
            raise WrongError(f"{what} has the strides {tensor.stride()}, not {expected}")


Circumstance = Callable[[Given], Iterator[Result]]
