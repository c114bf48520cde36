"""Every forward with every rule, where a test asks for them."""

import pytest
import torch

from tests.pairs import FORWARDS, PAIRS, RULES


@pytest.fixture
def cases() -> tuple[list[str], list[str]]:
    """All forwards and all rules under test."""
    return FORWARDS, RULES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = metafunc.fixturenames
    if "forward" in names and "rule" in names:
        metafunc.parametrize(("forward", "rule"), PAIRS)
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
def fitting_forwards(rule: str) -> list[str]:
    """The forwards that go with ``rule``."""
    return [forward for forward in FORWARDS if (forward, rule) in PAIRS]
