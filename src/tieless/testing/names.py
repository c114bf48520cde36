"""Names for the length of a test."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from tieless.registry import temporary_registrations


@contextmanager
def temporary_names() -> Generator[None, None, None]:
    """Context: rules, forwards, models, data sets, losses and metrics that are registered inside are gone afterwards.

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
    with temporary_registrations():
        yield
