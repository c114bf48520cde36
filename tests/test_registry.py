"""Properties of each value of a registry, whatever its kind."""

import copy
import dataclasses
import functools
import gc
import importlib
import io
import math
import pickle
import re
import sys
import weakref
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

import tieless as tl
from tieless.errors import RuleTypeError, SpecError
from tieless.feedback import feedback
from tieless.forwards import Elementwise, forward
from tieless.rules import Chain, register_schedule
from tieless.rules.catalogue import example
from tieless.study.settings import spelling
from tieless.study.settings.initial import mean_squared_slope, moments
from tieless.testing import temporary_names

WITH_PARAMETERS = {"signed_staircase": "signed_staircase(3)", "staircase": "staircase(4)"}


def _written_rule() -> tl.Rule:
    @tl.register_rule
    def written(z, width: float = 1.0):
        return (z.abs() < width).to(z.dtype)

    return written(2)


def _written_forward() -> tl.Forward:
    @tl.register_forward(flat=True)
    def written_steps(z, height: float = 1.0):
        return height * (z > 0).to(z.dtype)

    return written_steps(2)


MAKE = {
    **{f"rule {name}": lambda cls=cls: example(cls) for name, cls in tl.rules().items()},
    **{f"forward {name}": lambda name=name: forward(WITH_PARAMETERS.get(name, name)) for name in tl.forwards()},
    **{f"feedback {name}": lambda name=name: feedback(name) for name in tl.feedbacks()},
    "chain": lambda: tl.rule("full_jam >> gated"),
    "callable": lambda: forward(torch.tanh),
    "written rule": _written_rule,
    "written forward": _written_forward,
    "anneal": lambda: tl.anneal("atan", {"width": 2}, {"width": 1}, 10),
    "alternate": lambda: tl.alternate("tied", "full_jam"),
}


@pytest.fixture(params=MAKE)
def value(request):
    """Value of each class that exists."""
    return MAKE[request.param]()


def test_values_are_referred_to_weakly(value):
    assert weakref.ref(value)() is value


def test_a_weak_reference_keeps_no_value_alive():
    reference = weakref.ref(tl.ATan(0.123))
    gc.collect()
    assert reference() is None


def test_copies_and_pickles_of_every_protocol_are_equal(value):
    twins = [pickle.loads(pickle.dumps(value, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*twins, copy.copy(value), copy.deepcopy(value), dataclasses.replace(value)):
        assert twin == value
        assert hash(twin) == hash(value)
        assert str(twin) == str(value)


def test_values_are_loaded_with_weights_only(value):
    if isinstance(value, Elementwise):
        with pytest.raises(pickle.UnpicklingError):
            _loaded(value)  # a function is code, which such a file must not bring
        return
    assert _loaded(value) == value


def _loaded(value):
    file = io.BytesIO()
    torch.save({"hyperparameters": [value]}, file)
    file.seek(0)
    return torch.load(file, weights_only=True)["hyperparameters"][0]


def test_a_file_that_nobody_vouches_for_imports_nothing(tmp_path, monkeypatch):
    tmp_path.joinpath("hers.py").write_text(
        "import tieless as tl\n@tl.register_rule\ndef faraway(z, width: float = 1.0):\n    return z * width\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    file = io.BytesIO()
    with temporary_names():
        torch.save(importlib.import_module("hers").faraway(2), file)
        file.seek(0)
        assert str(torch.load(file, weights_only=True)) == "faraway(2)"
    del sys.modules["hers"]
    file.seek(0)
    with pytest.raises(SpecError, match=r"holds the rule 'faraway', which nobody has registered. Import hers first"):
        torch.load(file, weights_only=True)
    assert "hers" not in sys.modules


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.int64(3), 3),
        (Fraction(1, 2), 0.5),
        (np.std([1.0, 2.0]), 0.5),
    ],
    ids=range(5),
)
def test_numbers_of_other_libraries_become_pythons(given, plain):
    rule = tl.ATan(given)
    assert type(rule.width) is type(plain)
    assert (rule.width, str(rule)) == (plain, str(tl.ATan(plain)))
    assert tl.rule(str(rule)) == rule
    assert type(tl.Sigmoid.from_alpha(given).width) is float
    schedule = tl.anneal("atan", {"width": given}, {"width": 1}, np.int64(10))
    assert tl.rule(str(schedule.at(3))) == schedule.at(3)
    assert type(tl.levels.Levels((given,), (0, given)).values[1]) is type(plain)


class _Unhashable:
    """Callable that is equal to others, and may change."""

    def __init__(self, factor):
        self.factor = factor

    def __eq__(self, other):
        return isinstance(other, _Unhashable)

    __hash__ = None

    def __call__(self, z):
        return self.factor * z


@dataclasses.dataclass
class _Affine:
    factor: float

    def __call__(self, z):
        return self.factor * z


@pytest.mark.parametrize(
    "make",
    [_Unhashable, _Affine, lambda factor: functools.partial(_first, factors=[factor])],
    ids=["object", "dataclass", "partial"],
)
def test_callables_without_a_hash_are_forwards(make):
    z = torch.ones(2, requires_grad=True)
    for factor in (2.0, 3.0, 2.0):
        y = tl.untie(z, make(factor), "tied")
        assert y.tolist() == [factor] * 2
        (grad,) = torch.autograd.grad(y.sum(), z)
        assert grad.tolist() == [factor] * 2
        assert tl.Activation(make(factor), "few_bit(1)")(z).tolist() == [factor] * 2


def _first(z, factors):
    return factors[0] * z


def test_what_is_cached_by_name_is_forgotten_with_its_meaning():
    def define(width):
        def hat(z, width: float = width):
            return (1 - (z / width) ** 2).clamp(min=0)

        tl.register_rule(hat)

    z = torch.tensor([0.5], requires_grad=True)
    for width in (1.0, 2.0):
        define(width)
        assert (spelling.rule("hat"), str(tl.rule("hat"))) == (f"hat({int(width)})", f"hat({width})")
        spelling.check_pair("relu", "hat")
        (grad,) = torch.autograd.grad(tl.untie(z, "relu", "hat").sum(), z)
        assert grad.item() == 1 - (0.5 / width) ** 2
    with temporary_names():
        define(3.0)
        assert spelling.rule("hat") == "hat(3)"
    assert spelling.rule("hat") == "hat(2)"


def test_moments_of_a_forward_are_those_of_its_meaning_now():
    def height(level):
        with temporary_names():

            @tl.register_forward(flat=True)
            def plateau(z):
                return torch.full_like(z, level)

            return moments("plateau").mean, mean_squared_slope("plateau", f"constant({level})")

    assert [height(level) for level in (1.0, 2.0)] == [pytest.approx((level, level**2)) for level in (1.0, 2.0)]


def test_a_schedule_too_has_its_name_for_a_time():
    with temporary_names():

        @register_schedule("by_day")
        def by_day(day: str, night: str):
            return tl.alternate(day, night)

        assert spelling.rule("by_day('tied', 'full_jam')") == 'alternate("tied", "full_jam")'
    for read in (tl.rule, spelling.rule):
        with pytest.raises(SpecError, match="by_day"):
            read("by_day('tied', 'full_jam')")


def test_every_cache_in_the_catalogues_is_forgotten():
    """No cache of Python's own, which nothing would clear, in the rooms of names and of what follows from them."""
    source = Path(tl.__file__).parent
    names = ("registry.py", "grammar.py", "signature.py", "convert/converted.py")
    rooms = ("rules", "forwards", "feedback", "functional", "levels", "diagnose/slopes", "study/settings")
    files = [*map(source.joinpath, names), *(file for room in rooms for file in (source / room).glob("*.py"))]
    found = {file.name for file in files if re.search(r"@(lru_)?cache\b", file.read_text())}
    assert found == {"search.py"}  # the places of Gauss's quadrature


ODD = [
    None,
    True,
    "1",
    b"1",
    [1],
    10**400,
    -(10**400),
    math.nan,
    math.inf,
    1e300,
    5e-324,
    0,
    -1,
    1j,
    torch.tensor(1.0),
    np.ones(3),
    np.float64("nan"),
    "\ud800",
    object,
    Decimal(1),
    (),
    "'\"",
    2**70,
]
MAKERS = [
    *tl.rules().values(),
    *tl.forwards().values(),
    *tl.feedbacks().values(),
    *[
        getattr(cls, name)
        for cls in (*tl.rules().values(), *tl.forwards().values())
        for name in dir(cls)
        if name.startswith("from_")
    ],
    tl.rule,
    forward,
    feedback,
    lambda odd: tl.Activation("relu", odd),
    lambda odd: tl.alternate(odd, "tied"),
    lambda odd: tl.alternate("constant", "tied", every=odd),
    lambda odd: tl.anneal("atan", {"width": odd}, {"width": 1}, 10),
    lambda odd: tl.anneal("atan", {"width": 1}, {"width": 2}, odd),
    lambda odd: tl.anneal("atan", odd, {"width": 2}, 10),
    lambda odd: tl.levels.Levels((odd,), (0, odd)),
    lambda odd: tl.levels.Levels(odd, odd),
    lambda odd: tl.levels.optimal_levels("relu", odd),
    lambda odd: Chain((odd, tl.Tied())),
    Chain,
    tl.register_rule,
    tl.register_forward,
    lambda odd: tl.Tied() >> odd,
]


def _outcome(make, arguments):
    try:
        return make(*arguments)
    except (tl.errors.TielessError, TypeError) as error:
        return error


@pytest.mark.parametrize("make", MAKERS, ids=range(len(MAKERS)))
def test_whatever_is_given_makes_a_value_or_is_refused_in_our_own_words(make):
    for arguments in [*[(odd,) for odd in ODD], *[(1, odd) for odd in ODD]]:
        outcome = _outcome(make, arguments)
        assert len(str(outcome).splitlines()) <= 1 or not isinstance(outcome, Exception)
        if isinstance(outcome, Exception) and "positional argument" not in str(outcome):  # more of them than there are
            assert isinstance(outcome, tl.errors.TielessError)
            assert len(str(outcome)) < 1500


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: tl.untie(torch.ones(2), torch.nn.ReLU, "tied"), RuleTypeError, r"got the class ReLU. Make one of it"),
        (lambda: tl.untie(torch.ones(2), "relu", tl.FullJam), RuleTypeError, r"Make one of the class: FullJam\(...\)"),
        (lambda: tl.untie(torch.ones(2), lambda _: None, "tied"), RuleTypeError, "returned None"),
        (lambda: tl.untie(torch.ones(2), "relu", ["tied"]), RuleTypeError, "a spec or a Rule"),
        (lambda: tl.register_rule(torch.relu), RuleTypeError, "does not say what it takes"),
        (lambda: tl.register_rule(type("Plain", (tl.Rule,), {})), RuleTypeError, "no frozen dataclass"),
        (lambda: tl.register_rule(_named("two words")), SpecError, "cannot hold the name 'two words'"),
    ],
    ids=range(7),
)
def test_what_cannot_be_a_half_is_said(make, error, says):
    with pytest.raises(error, match=says):
        make()


def _named(name):
    return dataclasses.dataclass(frozen=True)(type("Named", (tl.Rule,), {"name": name}))
