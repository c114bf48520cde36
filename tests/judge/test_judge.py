"""Every forward and every rule against a judge of its own, in programs at random under what PyTorch does with a tensor."""

import inspect
import math
import os
import random
from dataclasses import replace

import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

import tieless
from tests.judge import fuzz, levels
from tests.judge.circumstances import CIRCUMSTANCES
from tests.judge.forwards import FORWARDS, gelu, sigma, softplus
from tests.judge.numbers import FORMATS, philox
from tests.judge.programs import Program, keys
from tests.judge.rules import RULES
from tests.judge.specs import read
from tests.judge.verdict import WrongError

PROGRAMS = 300
# Beginnings of refusals, by the library's errors: halves that do not go together, samples of one element, and
# dimensions that are not there.
REFUSALS = (
    "RuleValueError: N needs at least",
    "RuleValueError: One bit cannot follow",
    "RuleValueError: The rule N follows the derivative of",
    "UntrainableError: N is flat",
    "DimensionError: Expected dim from N to N",
)
NEEDED = {
    "bits": 3,
    "degrees": 30,
    "factor": 2,
    "levels": 4,
    "max_norm": 1,
    "p": 0.5,
    "sigma": 1,
    "steps": 3,
    "value": 1,
}


def _spec(name, parameters):
    needed = [f"{word}={NEEDED[word]}" for word, default in parameters.items() if default is None]
    return f"{name}({', '.join(needed)})" if needed else name


def _catalogue(classes):
    """Names and parameters with their defaults; None if there is none."""
    return {
        name: {
            word: None if parameter.default is inspect.Parameter.empty else parameter.default
            for word, parameter in inspect.signature(made).parameters.items()
        }
        for name, made in classes.items()
    }


def test_every_forward_and_every_rule_has_a_judge():
    assert _catalogue(tieless.forwards()) == {name: judged.parameters for name, judged in FORWARDS.items()}
    assert _catalogue(tieless.rules()) == {name: judged.parameters for name, judged in RULES.items()}


def test_the_judge_knows_of_the_library_names_alone():
    """Its formulas are the docs': none is imported from what it judges."""
    for room in ("forwards", "levels", "numbers", "rules", "specs", "verdict"):
        source = inspect.getsource(__import__(f"tests.judge.{room}", fromlist=[room]))
        assert "import tieless" not in source
        assert "from tieless" not in source


def test_programs_at_random_are_right_or_refused():
    seed = 0 if "CI" in os.environ else random.SystemRandom().randrange(10**6)
    tally = fuzz.campaign(PROGRAMS, seed)
    assert not tally.wrong, f"seed {seed}\n{tally}"
    assert tally.programs == PROGRAMS
    assert tally.elements > 100 * PROGRAMS
    assert all(kind.startswith(REFUSALS) for kind in tally.refused), tally
    assert tally.refused.total() < PROGRAMS / 20


def test_every_circumstance_with_bits_a_key_and_two_terms():
    """Whatever the programs at random are. Eight elements are a byte of bits."""
    rule = "rectangular(low=-1, high=2) >> positive_jam"
    programs = [Program("relu", rule, shape=(8, 8), circumstance=name) for name in sorted(CIRCUMSTANCES)]
    tally = fuzz.worker(f"work({programs!r})")
    assert not tally.wrong, tally
    assert tally.programs == len(CIRCUMSTANCES)
    assert not tally.refused


# Programs that were wrong.


@pytest.mark.parametrize(
    "program",
    [
        Program("gelu", "few_bit(2)", shape=(), circumstance="meta"),
        Program("relu", "clip(1) >> flip(0.5)", shape=(3, 4), circumstance="batched_grads"),
        Program("linear", "clip_norm(2)", shape=(8,), scale=80),
        Program("relu", "clip_norm(2)", dtype="bfloat16", shape=(8,), scale=80),
        # The judge was wrong: PyTorch's product of feedback and sigma(-88) is subnormal, and its gelu' at -inf is NaN.
        Program("silu", "tied", shape=(17, 2, 27), seed=493160, beyond=True),
        Program("gelu", "tied >> normalize", dtype="float64", shape=(8,), seed=9, beyond=True),
        Program("gelu", "tied >> clip_norm(1)", dtype="float64", shape=(8,), seed=9, beyond=True),
        Program("gelu", 'tied >> sign(norm="tensor")', dtype="float64", shape=(8,), seed=9, beyond=True),
    ],
    ids=repr,
)
def test_a_program_that_was_wrong_is_right(program):
    assert program.run() or program.circumstance == "meta"


# The judge itself.


def _plain(forward, rule):
    program = Program(forward, rule, shape=(5, 8), seed=1)
    (result,) = CIRCUMSTANCES["plain"](program.given())
    (key,) = keys(1, 1)
    assert program.judged(result, key) == 80
    return program, result, key


@pytest.mark.parametrize("forward", sorted(FORWARDS))
def test_another_value_is_wrong(forward):
    program, result, key = _plain(_spec(forward, FORWARDS[forward].parameters), "frozen")
    with pytest.raises(WrongError, match=r"y: (3.|40) of 40 elements are wrong"):
        program.judged(replace(result, y=result.y.detach() * 1.001 + 1e-4), key)


@pytest.mark.parametrize("rule", sorted(RULES))
def test_another_gradient_is_wrong(rule):
    program, result, key = _plain(RULES[rule].of or "leaky_relu", _spec(rule, RULES[rule].parameters))
    with pytest.raises(WrongError, match=r"gradient: (3.|40) of 40 elements are wrong"):
        program.judged(replace(result, gradient=result.gradient * 1.001 + 1e-4), key)


def test_another_form_is_wrong():
    program, result, key = _plain("relu", "tied")
    for other, words in {
        "y is torch.float64": replace(result, y=result.y.double()),
        "gradient has the shape": replace(result, gradient=result.gradient[:1]),
        "gradient has the strides": replace(result, gradient=result.gradient.t().contiguous().t()),
    }.items():
        with pytest.raises(WrongError, match=other):
            program.judged(words, key)


PROGRAMS_THAT_END_OTHERWISE = """
import os
from tieless.errors import TransformError

class Ending:
    def __init__(self, name, run):
        self.name, self.run = name, run
    def __repr__(self):
        return self.name

def refuse():
    raise TransformError("relu(3) at 4.5 is 'x' refused")

def fail():
    raise KeyError("first", "second")

work([Ending("fine", lambda: 7), Ending("refused", refuse), Ending("failing", fail), Ending("crashing", os.abort), None])
"""


def test_a_crash_is_a_finding_and_what_ran_before_counts():
    tally = fuzz.worker(PROGRAMS_THAT_END_OTHERWISE)
    assert (tally.programs, tally.elements) == (4, 7)
    assert tally.refused == {"TransformError: N at N is N refused": 1}
    (failing, key_error), (crashing, abort) = tally.wrong
    assert (failing, crashing) == ("failing", "crashing")
    assert key_error.startswith("KeyError: ('first', 'second')")
    assert abort.startswith("killed by SIGABRT: Fatal Python error: Aborted")


def test_what_is_wrong_is_made_simpler(monkeypatch):
    """One that is wrong for its jam alone, as if it were."""
    tried = []

    def worker(call):
        tried.append(call)
        return fuzz.Tally(wrong=[("", "")] if "full_jam" in call else [])

    monkeypatch.setattr(fuzz, "worker", worker)
    program = Program(
        "gelu", "atan >> full_jam >> sign", dtype="bfloat16", shape=(3, 5), layout="sliced", seed=3, beyond=True
    )
    assert fuzz.simplest(repr(program)) == "Program(forward='linear', rule='full_jam', shape=(8,))"
    assert len(tried) < 30


def test_a_program_is_printed_as_python_that_runs_it():
    program = Program("gelu", 'full_jam(replace="magnitude")', shape=(3,), seed=4)
    line = fuzz.line_of(repr(program))
    assert line == (
        "from tests.judge.programs import Program; "
        "Program(forward='gelu', rule='full_jam(replace=\"magnitude\")', shape=(3,), seed=4).run()"
    )
    exec(line)  # noqa: S102


# The known-answer vectors of the authors' Random123 library, kat_vectors, philox4x32 with 10 rounds.
@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_known_answers(counter, key, answer):
    counter, key, answer = ([int(word, 16) for word in words.split()] for words in (counter, key, answer))
    assert philox(np.array([counter], np.uint64), tuple(key)).tolist() == [answer]


@given(x=st.floats(width=64) | st.floats(-1e5, 1e5) | st.floats(-1e-37, 1e-37))
@pytest.mark.parametrize("dtype", FORMATS)
def test_numbers_are_rounded_as_pytorch_rounds_them(dtype, x):
    # bfloat16 by way of float32, which PyTorch rounds to first, and twice.
    x = float(np.float32(x)) if dtype == "bfloat16" and abs(x) < 1e38 else x
    expected = torch.tensor(x, dtype=torch.float64).to(getattr(torch, dtype)).double().item()
    np.testing.assert_equal(float(FORMATS[dtype].nearest(np.float64(x))), expected)


@pytest.mark.parametrize(
    ("function", "exact"),
    [
        (gelu, lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2),
        (sigma, lambda z: 1 / (1 + mpmath.exp(-z))),
        (softplus, lambda z: mpmath.log1p(mpmath.exp(z))),
    ],
    ids=["gelu", "sigma", "softplus"],
)
def test_functions_of_the_judge_are_exact_to_four_units_in_float64(function, exact):
    z = np.concatenate([np.linspace(-30, 30, 241), [-37.0, -1e-9, 1e-300]])
    with mpmath.workdps(60):
        right = np.array([float(exact(mpmath.mpf(float(x)))) for x in z])
    assert (np.abs(function(z) - right) <= 4 * np.spacing(np.abs(right))).all()


def test_the_reader_of_specs():
    signatures = {"a": {"x": 1.0, "word": "none"}, "b": {"p": None}, "c": {}}
    assert read("a >> b(0.5) >> c", signatures) == [("a", {"x": 1.0, "word": "none"}), ("b", {"p": 0.5}), ("c", {})]
    assert read('a(-2e3, word="tensor")', signatures) == [("a", {"x": -2000.0, "word": "tensor"})]
    with pytest.raises(AssertionError, match="a parameter is missing"):
        read("b", signatures)


def test_the_step_functions_of_the_judge_are_nearest():
    """No boundary that is moved by a little is nearer; by the integral in closed form."""
    steps = levels.nearest("softplus", {}, 2)

    def gain(boundaries):
        edges = np.array([-10, *boundaries, 10])
        rise, width = np.diff(softplus(edges)), np.diff(edges)
        values = np.array([0, *(rise / width)[1:-1], 1])
        return float((values * values * width - 2 * values * rise).sum())

    best = gain(steps.boundaries)
    for place in range(3):
        for step in (-1e-3, 1e-3):
            moved = np.array(steps.boundaries)
            moved[place] += step
            assert gain(moved) > best
    assert math.isclose(
        steps.values[1], (softplus(0.0) - softplus(steps.boundaries[0])) / -steps.boundaries[0], rel_tol=1e-7
    )
