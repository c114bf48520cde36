"""Forwards with rules, where a test asks for them."""

import random

import pytest
import torch

from tests.pairs import EVERY_PAIR, FORWARDS, RULES, asked


@pytest.fixture
def cases() -> tuple[list[str], list[str]]:
    """All forwards and all rules under test."""
    return FORWARDS, RULES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.fixturenames
    if "forward" in names and "rule" in names:
        metafunc.parametrize(("forward", "rule"), asked(metafunc.config, metafunc.definition.nodeid))
    elif "forward" in names:
        metafunc.parametrize("forward", FORWARDS)
    elif "rule" in names:
        metafunc.parametrize("rule", RULES)


@pytest.fixture(autouse=True)
def _poisoned_memory():
    """Fresh memory is full of NaN, so that an element which no kernel wrote is seen."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.fixture
def fitting_forwards(request: pytest.FixtureRequest, rule: str) -> list[str]:
    """The forwards that go with ``rule``, in another order for each test."""
    fitting = [forward for forward in FORWARDS if (forward, rule) in EVERY_PAIR]
    random.Random(request.node.nodeid).shuffle(fitting)
    return fitting
