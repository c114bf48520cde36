"""References for an untied gradient: the tied one, and for a forward without a derivative, the nearest substitute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from tieless.diagnose.gradients.smoothed import Smoothed, width_at
from tieless.diagnose.watching.passes import PassResult
from tieless.diagnose.watching.sites import Place
from tieless.errors import RuleValueError
from tieless.forwards import Elementwise, Forward
from tieless.functional import Pair
from tieless.registry import positive_number
from tieless.rules import Tied

Reference = Literal["smoothed", "perturbation"]
"""Substitute for the derivative of a flat forward."""


def checked(reference: str, sigma: float) -> None:
    """Refuse an invalid reference or sigma.

    Raises:
        RuleValueError: the reference is unknown, or sigma is not positive.
        RuleTypeError: sigma is no number.
    """
    if reference not in get_args(Reference):
        raise RuleValueError(f"reference must be one of {', '.join(get_args(Reference))}, got {reference!r}.")
    positive_number("sigma", sigma)


def checked_confidence(confidence: float) -> None:
    """Refuse an invalid confidence level.

    Raises:
        RuleValueError: the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise RuleValueError(f"confidence must lie between 0 and 1, got {confidence!r}.")


def flat(forward: Forward) -> bool:
    """True if the forward has no useful derivative: it is 0 almost everywhere."""
    return forward.derivative() is None


def sigmas(places: Sequence[Place], seen: PassResult, width: float) -> dict[int, float | None]:
    """Sigma at each flat place, in units of ``z``; ``None`` for a weight that is made once, which finds its own."""
    found: dict[int, float | None] = {}
    for number, place in enumerate(places):
        if not flat(place.forward):
            continue
        own = [call.z.detach() for call in seen.calls if call.place == number]
        z = own[0] if len(own) == 1 else torch.cat([one.flatten() for one in own]) if own else None
        found[number] = None if z is None else width_at(z, width, place.name or str(place.forward))
    return found


def tied_or(places: Sequence[Place], others: Mapping[int, Pair]) -> dict[int, Pair]:
    """Tied rule at every place that has another rule, or the halves that are given for it."""
    return {
        number: others.get(number) or Pair(place.forward, Tied())
        for number, place in enumerate(places)
        if number in others or not isinstance(place.rule, Tied)
    }


def smoothed(
    places: Sequence[Place], seen: PassResult, width: float
) -> tuple[dict[int, Pair], dict[int, float | None]]:
    """Smoothed forward with its own derivative, and its sigma, for each flat place."""
    blur = sigmas(places, seen, width)
    return {
        number: Pair(Elementwise(Smoothed(places[number].forward, width, sigma)), Tied())
        for number, sigma in blur.items()
    }, blur


@dataclass(eq=False)
class Noise:
    """Normal noise at the input of a flat forward, and the term whose gradient is the score of that noise.

    Attributes:
        terms: Terms ``sum(z epsilon) / sigma`` of each call: their gradient is that of the noise's logarithmic
            density with respect to the layers below.
    """

    forward: Forward
    width: float
    sigma: float | None
    generator: torch.Generator
    sign: int
    terms: list[Tensor] = field(default_factory=list[Tensor])

    def __call__(self, z: Tensor) -> Tensor:
        sigma = width_at(z, self.width, str(self.forward)) if self.sigma is None else self.sigma
        epsilon = torch.randn(z.shape, generator=self.generator, dtype=torch.float64).to(z)
        self.terms.append(self.sign * (z * epsilon).sum() / sigma)
        y = self.forward.value(z.detach() + self.sign * sigma * epsilon)
        # The noise is in the graph of z, with the derivative 0 of a flat forward.
        return torch.where(torch.zeros_like(z, dtype=torch.bool), z, y)


def noisy(
    places: Sequence[Place], blur: Mapping[int, float | None], width: float, seed: int, sign: int
) -> dict[int, Noise]:
    """Noise for each flat place; with ``sign=-1`` the same noise with the opposite sign."""
    return {
        number: Noise(places[number].forward, width, sigma, torch.Generator().manual_seed(seed + number), sign)
        for number, sigma in blur.items()
    }


def words_for(
    places: Sequence[Place], blur: Mapping[int, float | None], reference: Reference, width: float, draws: int
) -> tuple[tuple[str, str], ...]:
    """Description of the substitute at each flat place."""
    if reference == "smoothed":
        what = "the forward smoothed by normal noise, with its derivative"
    else:
        what = f"the loss under normal noise at z, from {draws} antithetic pairs"
    return tuple(
        (
            places[number].name,
            f"{what}, sigma {f'{sigma:.3g}' if sigma is not None else f'{width:g} standard deviations'}",
        )
        for number, sigma in blur.items()
    )
