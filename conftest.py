"""For all tests: the names that doctests may use without importing them, and how Hypothesis searches."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import torch

import tieless
from tieless.forwards import forward
from tieless.testing import temporary_names

# In CI a run must not fail for what the change did not touch, so there each property is tried on the same examples.
hypothesis.settings.register_profile("house", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--all``, which ``make test-all`` gives."""
    parser.addoption("--all", action="store_true", help="ask of every pair what is else asked of a cross-section")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect tests that are marked as beyond the cross-section, unless ``--all`` is given."""
    if not config.getoption("all"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("beyond")])
        items[:] = [item for item in items if not item.get_closest_marker("beyond")]


@pytest.fixture(autouse=True, scope="session")
def _doctest_names(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(torch=torch, tl=tieless, untie=tieless.untie, forward=forward)


@pytest.fixture(autouse=True)
def _catalogues() -> Iterator[None]:
    """What a test or a doctest registers is gone after it."""
    with temporary_names():
        yield


@pytest.fixture
def forked() -> Iterator[None]:
    """Workers of studies begin at once, for tests that do not ask how they begin."""
    from tests.alone import forking  # noqa: PLC0415  (it imports less where nobody asks for it)

    with forking():
        yield


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """A callable by its name: its address, which pytest would print, differs between the processes of one run."""
    return getattr(val, "__name__", None) if callable(val) and not isinstance(val, type) else None
