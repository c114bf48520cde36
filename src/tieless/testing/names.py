"""Names for the length of a test."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from tieless.forwards.base import temporary_forwards
from tieless.rules.base import temporary_rules


@contextmanager
def temporary_names() -> Generator[None, None, None]:
    """Context: rules and forwards that are registered inside are gone afterwards.

    Example:
        >>> from tieless.testing import temporary_names
        >>> with temporary_names():
        ...     @tl.register_rule
        ...     def everywhere(z): return torch.ones_like(z)
        ...     "everywhere" in tl.rules()
        True
        >>> "everywhere" in tl.rules()
        False
    """
    with temporary_rules(), temporary_forwards():
        yield
