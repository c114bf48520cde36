"""Properties of a rule, each a function that returns ``None`` if the rule has it, else the fault, in one line.

An exception counts as a failure of the property that raised it.
"""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import cast

import torch
import torch.utils.checkpoint
from torch import Tensor

from tieless.errors import TielessError
from tieless.rules import rule as rule_of
from tieless.testing.subject import DTYPES, Subject, points

Property = Callable[[Subject], str | None]


def _alike(one: Tensor, other: Tensor, rtol: float = 0, atol: float = 0) -> bool:
    """True if tensors are equal within tolerances; a NaN, which ``edges`` reports, counts as equal to a NaN."""
    return torch.allclose(one, other, rtol=rtol, atol=atol, equal_nan=True)


def _spec(subject: Subject) -> str | None:
    again = rule_of(str(subject.rule))
    if again != subject.rule or hash(again) != hash(subject.rule):
        return f"the spec {str(subject.rule)!r} gives {again!r}, not {subject.rule!r}"
    return None


def _pickling(subject: Subject) -> str | None:
    for name, twin in (
        ("pickle", pickle.loads(pickle.dumps(subject.rule))),  # noqa: S301 - of our own making
        ("deepcopy", copy.deepcopy(subject.rule)),
    ):
        if twin != subject.rule or hash(twin) != hash(subject.rule):
            return f"{name} gives {twin!r}, which is not equal to {subject.rule!r}"
    return None


def _dtype(subject: Subject) -> str | None:
    for dtype in DTYPES:
        z = points().to(dtype)
        for sent in subject.steps(z, torch.ones_like(z)):
            if sent.dtype != dtype or sent.shape != z.shape or sent.device != z.device:
                return f"{dtype} of shape {tuple(z.shape)} comes back as {sent.dtype} of shape {tuple(sent.shape)}"
    return None


def _distinct(values: Tensor) -> int:
    return len(set(cast("list[float]", values.flatten().tolist())))


def _precision(subject: Subject) -> str | None:
    z = points()
    if not subject.draws:
        sent = subject.sent(z)
        if _distinct(sent) > 16 and torch.equal(sent.float().double(), sent):
            return "in float64 nothing is sent that float32 could not hold: it is computed in a narrower dtype"
    for dtype, close in ((torch.float16, 4e-3), (torch.bfloat16, 3e-2), (torch.float32, 1e-4)):
        narrow = z.to(dtype)
        wide = torch.float64 if dtype is torch.float32 else torch.float32
        sent, expected = subject.sent(narrow).double(), subject.sent(narrow.to(wide)).double()
        off = (sent - expected).abs() > close * expected.abs() + close * 1e-2
        # An edge that is rounded to the dtype may put a few elements on its other side.
        if off.sum() > 2:
            at = narrow[off][0].item()
            return (
                f"in {dtype} at z={at:.4g} it sends {sent[off][0].item():.4g}, in {wide} {expected[off][0].item():.4g}"
            )
    return None


def _layouts() -> dict[str, Tensor]:
    z = points().float()
    return {
        "transposed": z.t(),
        "strided": torch.stack([z, z], -1)[..., 0],
        "channels_last": z.view(2, 4, 3, 4).contiguous(memory_format=torch.channels_last),
        "expanded": z[:, :1].expand(-1, 5),
        "0-dim": torch.tensor(0.3),
        "empty": torch.zeros(3, 0),
    }


def _layout(subject: Subject) -> str | None:
    for name, z in _layouts().items():
        try:
            sent = subject.sent(z)
        except TielessError:
            if name == "0-dim":  # a rule may say that it needs more than one number
                continue
            raise
        expected = torch.empty_like(z)
        if (sent.shape, sent.dtype) != (z.shape, z.dtype) or (z.numel() and sent.stride() != expected.stride()):
            return f"a {name} z of strides {z.stride()} gets a gradient of strides {sent.stride()}"
        plain = subject.sent(z.contiguous())
        if not _alike(sent, plain, 1e-5, 1e-6):
            return f"a {name} z gets other numbers than a contiguous one"
    return None


def _edges(subject: Subject) -> str | None:
    for dtype in reversed(DTYPES):  # the wide ones first: their faults are plainer
        limits = torch.finfo(dtype)
        values = [0.0, -0.0, limits.smallest_normal, 1.0, -1.0, 100.0, -100.0, 1e4, -1e4, limits.max, limits.min]
        z = torch.tensor([*values, math.inf, -math.inf], dtype=dtype)
        sent = subject.sent(z)
        for at, value in zip(cast("list[float]", z.tolist()), cast("list[float]", sent.tolist()), strict=True):
            if math.isnan(value):
                return f"NaN is sent at z={at:.4g} in {dtype}"
            if math.isinf(value) and abs(at) <= 1e4 and dtype in (torch.float32, torch.float64):
                return f"{value} is sent at z={at:.4g} in {dtype}"
        if (
            subject.rule.parts()[-1].family != "transform"
            and subject.slope
            and subject.sent(z, torch.zeros_like(z)).any()
        ):
            return f"no feedback, and something is sent in {dtype}"
    return None


def _nan(subject: Subject) -> str | None:
    z = points().float()
    clean = subject.sent(z)
    spoilt = z.clone()
    spoilt[1, 2] = math.nan
    sent = subject.sent(spoilt)
    others = torch.ones_like(z, dtype=torch.bool)
    others[1, 2] = False
    if subject.is_elementwise and not _alike(sent[others], clean[others]):
        return "a NaN in z changes what other elements are sent"
    return None


def _determinism(subject: Subject) -> str | None:
    z = points().float()
    leaf = z.clone().requires_grad_()
    torch.manual_seed(7)
    y = subject.untie(leaf)
    between = torch.get_rng_state()
    (first,) = torch.autograd.grad(y.sum(), leaf, retain_graph=True)
    if not torch.equal(torch.get_rng_state(), between):
        return "the backward pass draws from torch's generator: draw from the random that feedback is given"
    torch.rand(3)
    (second,) = torch.autograd.grad(y.sum(), leaf)
    if not _alike(first, second):
        return "two backward passes through one graph differ"
    if not _alike(first, subject.sent(z)):
        return "the same seed gives another gradient"
    return None


def _purity(subject: Subject) -> str | None:
    z, feedback = points().float(), torch.cos(points()).float()
    before = z.clone(), feedback.clone()
    subject.steps(z, feedback)
    for name, now, then in (("z", z, before[0]), ("grad_output", feedback, before[1])):
        if not torch.equal(now, then):
            return f"it changes {name} in place"
    return None


def _elementwise(subject: Subject) -> str | None:
    if not subject.is_elementwise:
        return None
    z, feedback = points(), torch.cos(7 * points())
    sent = subject.sent(z, feedback)
    shuffled = torch.randperm(z.numel(), generator=torch.Generator().manual_seed(0))
    part = shuffled[: z.numel() // 3]
    alone = subject.sent(z.flatten()[part], feedback.flatten()[part])
    if not _alike(alone, sent.flatten()[part], 1e-9, 0):
        return "what an element is sent depends on other elements"
    if not _alike(subject.sent(z, 4 * feedback), 4 * sent, 1e-9, 0):
        return "four times the feedback does not send four times as much"
    return None


def _primitive(subject: Subject) -> str | None:
    z = points().flatten()
    step = 1e-6

    def at(shift: float) -> Tensor:
        value = subject.antiderivative(z + shift)
        assert value is not None
        return value

    slope = subject.sent(z)
    forth, back = (at(step) - at(0)) / step, (at(0) - at(-step)) / step
    smooth = (forth - back).abs() <= 1e-4 * (1 + forth.abs())  # a kink has two slopes, and a rule may take either
    numeric = (at(step) - at(-step)) / (2 * step)
    off = smooth & ((numeric - slope).abs() > 1e-5 * (1 + numeric.abs()))
    if off.any():
        where, found, wanted = z[off][0].item(), slope[off][0].item(), numeric[off][0].item()
        return f"at z={where:.4g} the slope is {found:.6g}, its primitive's {wanted:.6g}"
    return None if smooth.sum() > len(z) / 2 else "the primitive has kinks almost everywhere"


def _same(subject: Subject, run: Callable[[Tensor], Tensor], what: str) -> str | None:
    z = points().float()
    feedback = torch.cos(7 * z)
    leaf = z.clone().requires_grad_()
    torch.manual_seed(7)
    run(leaf).backward(feedback)
    assert leaf.grad is not None
    # Some kernels compute exp to a unit in the last place that PyTorch's own may not hit.
    if not _alike(leaf.grad, subject.sent(z, feedback), 1e-5, 1e-7):
        return f"{what} gives another gradient"
    return None


def _checkpoint(subject: Subject) -> str | None:
    def run(z: Tensor) -> Tensor:
        return cast("Tensor", torch.utils.checkpoint.checkpoint(subject.untie, z, use_reentrant=False))

    return _same(subject, run, "checkpointing")


def _transforms(subject: Subject) -> str | None:
    z = points().float()

    def loss(row: Tensor) -> Tensor:
        return subject.untie(row).sin().sum()

    gradient = cast("Callable[[Tensor], Tensor]", torch.func.grad(loss))

    torch.manual_seed(7)
    together = torch.func.vmap(gradient, randomness="different")(z)
    torch.manual_seed(7)
    apart = torch.stack([gradient(row) for row in z])
    return None if _alike(together, apart, 1e-5, 1e-7) else "vmap(grad) is not a loop over the rows"


def _compile(subject: Subject) -> str | None:
    torch.compiler.reset()
    compiled = torch.compile(subject.untie, fullgraph=True, backend="aot_eager")
    return _same(subject, compiled, "torch.compile")


PROPERTIES: dict[str, Property] = {
    "spec": _spec,
    "pickling": _pickling,
    "purity": _purity,
    "dtype": _dtype,
    "precision": _precision,
    "layout": _layout,
    "edges": _edges,
    "nan": _nan,
    "determinism": _determinism,
    "elementwise": _elementwise,
    "primitive": _primitive,
    "checkpoint": _checkpoint,
    "transforms": _transforms,
    "compile": _compile,
}
