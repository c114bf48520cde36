"""Gradient of a loss under noise, estimated from values of the loss: no derivative of a step function is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tieless.diagnose.gradients.compare import Sums
from tieless.diagnose.gradients.references import Noise, noisy, tied_or
from tieless.diagnose.watching.passes import run_pass
from tieless.diagnose.watching.sites import Place
from tieless.forwards import Elementwise
from tieless.functional import Pair
from tieless.rules import Tied


@dataclass(slots=True)
class Estimated:
    """Vector that is known from independent unbiased estimates of it.

    Attributes:
        total: Sum of the estimates.
        squares: Sum of the squares of their lengths.
        count: Number of estimates.
    """

    total: list[Tensor]
    squares: Tensor
    count: int = 1

    def add(self, other: Sequence[Tensor]) -> None:
        """Add one estimate."""
        self.total = [mine + theirs for mine, theirs in zip(self.total, other, strict=True)]
        self.squares = self.squares + _square(other)
        self.count += 1


def _square(parts: Sequence[Tensor]) -> Tensor:
    return torch.stack([(part.double() ** 2).sum() for part in parts]).sum()


def sums_with(untied: Sequence[Tensor], reference: Estimated) -> Sums:
    """Sums of a pair whose second vector is only estimated; all of them, except those of signs, are unbiased.

    The square of a mean of ``n`` estimates is too large by their scatter. The products of different ones are not:
    ``t . t = (|sum|^2 - sum of squares) / (n (n - 1))``. It may come out negative, where the scatter hides it.
    """
    n = reference.count
    mean = [total.double() / n for total in reference.total]
    tt = (_square(reference.total) - reference.squares) / (n * (n - 1))
    u = [part.detach().double() for part in untied]
    uu = _square(u)
    ut = torch.stack([(one * other).sum() for one, other in zip(u, mean, strict=True)]).sum()
    same, either = 0, 0
    for one, other in zip(u, mean, strict=True):
        neither = (one == 0) & (other == 0)
        same += int(((one.sign() == other.sign()) & ~neither).sum())
        either += int((~neither).sum())
    elements = sum(part.numel() for part in u)
    return Sums(float(uu), float(tt), float(ut), float(uu - 2 * ut + tt), same, either, elements)


def estimated(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: Callable[[nn.Module], Tensor],
    blur: Mapping[int, float | None],
    *,
    width: float,
    draws: int,
    seed: int,
) -> tuple[dict[str, Estimated], dict[int, Estimated]]:
    """Estimates of the gradient of ``E[loss]`` with noise ``sigma N(0, 1)`` at the ``z`` of each flat forward.

    With the noise ``epsilon`` of a place and everything else held, the gradient of the expectation is the expectation
    of ``(loss - baseline) epsilon / sigma`` at ``z``, passed down by the chain rule, plus the derivative that does not
    go through a step function at all. The baseline is the loss without noise; as it does not depend on ``epsilon`` it
    adds no bias. Each estimate is the mean over ``epsilon`` and ``-epsilon``. Activations that are not flat are tied.

    Args:
        model, places, loss_of: Arguments as for ``run_pass``.
        blur: Sigma of each flat place, by its number.
        width: Sigma in standard deviations, for places whose sigma in ``blur`` is ``None``.
        draws: Number of pairs, at least two.
        seed: Seed of the noise and of everything else random: the same in every pass.
    Returns:
        Estimates for each parameter by name, and for each activation by number.
    Source:
        Schulman et al. 2015, Gradient estimation using stochastic computation graphs, arXiv:1506.05254, for the score
        at each node; Salimans et al. 2017, Evolution strategies, arXiv:1703.03864, for antithetic pairs.
    """
    quiet = _noiseless(model, places, loss_of, blur, width, seed)
    weights: dict[str, Estimated] = {}
    feedback: dict[int, Estimated] = {}
    for draw in range(draws):
        sides = [
            _side(model, places, loss_of, noisy(places, blur, width, (seed << 24) + (draw << 12), sign), quiet, seed)
            for sign in (1, -1)
        ]
        (plus, plus_sent), (minus, minus_sent) = sides
        for name in plus:
            _add(weights, name, [(plus[name] + minus[name]) / 2])
        for number in plus_sent:
            pairs = zip(plus_sent[number], minus_sent[number], strict=True)
            _add(feedback, number, [(one + other) / 2 for one, other in pairs])
    return weights, feedback


def _add(found: dict[str, Estimated] | dict[int, Estimated], key: str | int, one: list[Tensor]) -> None:
    known: Estimated | None = found.get(key)  # pyright: ignore[reportArgumentType] - a key of its own dict
    if known is None:
        found[key] = Estimated(one, _square(one))  # pyright: ignore[reportArgumentType]
    else:
        known.add(one)


def _noiseless(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: Callable[[nn.Module], Tensor],
    blur: Mapping[int, float | None],
    width: float,
    seed: int,
) -> float:
    """Loss without noise."""
    halves = tied_or(places, _pair(noisy(places, blur, width, 0, 0)))
    return float(_loss(model, places, loss_of, halves, seed))


def _loss(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: Callable[[nn.Module], Tensor],
    halves: dict[int, Pair],
    seed: int,
) -> Tensor:
    def with_a_gradient(model: nn.Module) -> Tensor:
        # If all activations are steps, the loss may have no gradient; only its value is needed.
        loss = loss_of(model)
        return loss if loss.requires_grad else loss.detach().requires_grad_()

    return run_pass(model, places, with_a_gradient, halves, seed=seed).loss


def _pair(noise: Mapping[int, Noise]) -> dict[int, Pair]:
    return {number: Pair(Elementwise(one), Tied()) for number, one in noise.items()}


def _side(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: Callable[[nn.Module], Tensor],
    noise: dict[int, Noise],
    quiet: float,
    seed: int,
) -> tuple[dict[str, Tensor], dict[int, list[Tensor]]]:
    def scored(model: nn.Module) -> Tensor:
        loss = loss_of(model)
        terms = [term for one in noise.values() for term in one.terms]
        weight = loss.detach() - quiet
        return loss + sum((weight * term for term in terms), torch.zeros_like(loss))

    seen = run_pass(model, places, scored, tied_or(places, _pair(noise)), seed=seed)
    return seen.weights, seen.by_place()
