"""Results of a conversion, done or planned, as frozen values that print as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tieless._table import aligned


@dataclass(frozen=True, slots=True)
class FoundActivation:
    """One activation of a model.

    Args:
        names: Names of the activation; more than one if modules share it.
        kind: PyTorch's name of the function, such as ``"relu"``, or the class of a module that is not one of PyTorch's.
        place: Kind of place: a module, a function in an attribute, or a call in the code of a module.
        where: File and line of a call, else the class of the module.
        forward, backward: Specs of its halves; ``None`` if it is not converted.
        why_left: Reason why it is left as it is, if it was not left on request.
    Example:
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.GELU())
        >>> (found,) = tl.conversion(net, {"0": "full_jam"}).converted
        >>> found.name, found.kind, found.backward
        ('0', 'relu', 'full_jam')
    """

    names: tuple[str, ...]
    kind: str
    place: Literal["module", "attribute", "call"]
    where: str
    forward: str | None = None
    backward: str | None = None
    why_left: str | None = None

    @property
    def name(self) -> str:
        """First of its names."""
        return self.names[0]


@dataclass(frozen=True, slots=True)
class Unreached:
    """Part of a model that computes activations, or may, and that a conversion cannot exchange.

    Args:
        name: Module that contains it; empty for the model itself.
        what: Kind of the activation, or the expression that may compute some.
        why: Reason why it cannot be reached.
        where: File and line, attribute or method of the module; empty if it is the module itself.
    Example:
        >>> net = torch.nn.Sequential(torch.nn.ReLU(), torch.nn.LSTM(4, 8))
        >>> (place,) = tl.conversion(net, backward="full_jam").unreached
        >>> place.name, place.what, place.why
        ('1', 'sigmoid and tanh of nn.LSTM', 'they are computed inside one fused kernel')
    """

    name: str
    what: str
    why: str
    where: str = ""

    def __str__(self) -> str:
        seen = f"{self.what}, {self.where}" if self.where else self.what
        return f"{self.name or '(the model)'}: {seen} ({self.why})"


@dataclass(frozen=True, slots=True)
class Conversion:
    """Result of a conversion, done or planned. ``print`` shows it as a table.

    Args:
        model: Name of the model's class.
        converted: Activations with a rule of their own.
        left: Activations that are not converted.
        unreached: Places that were seen and cannot be exchanged.
        ran: True if an ``example`` was run, which also shows activations that reading the code does not.
    Example:
        >>> print(tl.conversion(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.GELU()), {"0": "full_jam"}))
        activation  before  converted  left
        gelu        1       0          1
        relu        1       1          0
        all         2       1          1
        <BLANKLINE>
        unreached: nothing that reading shows; with example= a run is looked at too
    """

    model: str
    converted: tuple[FoundActivation, ...]
    left: tuple[FoundActivation, ...]
    unreached: tuple[Unreached, ...]
    ran: bool = False

    @property
    def found(self) -> tuple[FoundActivation, ...]:
        """Activations that a conversion can reach, converted or left."""
        return (*self.converted, *self.left)

    def counts(self) -> dict[str, tuple[int, int, int]]:
        """Number of activations of each kind: before, converted and left.

        Example:
            >>> tl.conversion(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.ReLU()), {"0": "full_jam"}).counts()
            {'relu': (2, 1, 1)}
        """
        converted, left = _count(self.converted), _count(self.left)
        return {
            kind: (converted[kind] + left[kind], converted[kind], left[kind]) for kind in sorted({*converted, *left})
        }

    def __str__(self) -> str:
        counts = self.counts()
        sums = [sum(row[column] for row in counts.values()) for column in range(3)]
        rows = [["activation", "before", "converted", "left"]]
        rows += [[kind, *map(str, row)] for kind, row in counts.items()]
        rows.append(["all", *map(str, sums)])
        lines = [*aligned(rows), ""]
        lines += [f"left: {found.name} ({found.kind}): {found.why_left}" for found in self.left if found.why_left]
        lines += [f"unreached: {unreached}" for unreached in self.unreached]
        more = "nothing more" if self.unreached else "nothing"
        lines.append(
            f"unreached: {more}{'' if self.ran else ' that reading shows; with example= a run is looked at too'}"
        )
        return "\n".join(lines)


def _count(found: Iterable[FoundActivation]) -> Counter[str]:
    return Counter(activation.kind for activation in found)
