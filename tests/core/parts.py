"""Questions that may crash the process in which they are asked: many in a process of their own, each with a name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.judge import fuzz
from tieless.errors import TielessError

__all__ = ["Part", "wrong_parts"]

_SETTING = (
    "import torch, warnings; warnings.simplefilter('error'); torch.use_deterministic_algorithms(True)"
    "  # fresh memory is full of NaN, so that an element which no kernel wrote is seen\n"
)


@dataclass(frozen=True, repr=False)
class Part:
    """A question with what it is asked of, by which a failure names it."""

    ask: Callable[..., None]
    of: tuple[object, ...]

    def __repr__(self) -> str:
        return f"{self.ask.__name__}({', '.join(map(repr, self.of))})"

    def run(self) -> int:
        """Ask it; a refusal that it does not expect is a failure as any other."""
        try:
            self.ask(*self.of)
        except TielessError as error:
            raise AssertionError(f"refused: {error}") from error
        return 1


def wrong_parts(module: str, call: str) -> list[tuple[str, str]]:
    """The parts that are wrong, each with its reason; the one at which the process crashed is the last.

    Args:
        module: The module of the parts.
        call: A call in that module that gives them, as Python.
    """
    tally = fuzz.worker(f"{_SETTING}from {module} import *; work({call})")
    assert tally.programs > 0
    return tally.wrong
