"""Schedules of a rule's parameters, as values."""

import math
import pickle

import pytest
from hypothesis import assume, given, strategies as st

import tieless as tl
from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.rules import register_schedule, rule_schedule, schedule
from tieless.study.settings import spelling

POSITIVE = st.floats(1e-3, 1e3)


@given(first=POSITIVE, last=POSITIVE, steps=st.integers(1, 1000), step=st.integers(0, 1000))
def test_geometric_is_one_factor_a_step_and_linear_one_difference(first, last, steps, step):
    step = min(step, steps)
    width = [
        tl.anneal("atan", {"width": first}, {"width": last}, steps, curve=curve).at(step).width
        for curve in ("linear", "geometric")
    ]
    assert math.isclose(width[0], (first * (steps - step) + last * step) / steps, rel_tol=1e-9)
    assert math.isclose(math.log(width[1]), math.log(first) + step * math.log(last / first) / steps, abs_tol=1e-9)


@given(first=POSITIVE, last=POSITIVE, curve=st.sampled_from(["linear", "geometric"]), past=st.integers(0, 5))
def test_both_ends_are_exact_and_the_last_rule_stays(first, last, curve, past):
    schedule = tl.anneal("erf(height=2)", {"width": first}, {"width": last}, 7, curve=curve)
    assert schedule.at(0) == tl.Erf(first, 2)
    assert schedule.at(7 + past) == tl.Erf(last, 2)


@given(stages=st.integers(2, 20), steps=st.integers(1, 100))
def test_stages_are_so_many_rules_at_most_and_reach_both_ends(stages, steps):
    schedule = tl.anneal("atan", {"width": 2}, {"width": 1}, steps, stages=stages)
    widths = [schedule.at(step).width for step in range(steps + 1)]
    assert len(set(widths)) <= stages
    assert widths == sorted(widths, reverse=True)
    assert (widths[0], widths[-1]) == (2, 1)


def test_stages_last_equally_long():
    schedule = tl.anneal("atan", {"width": 3}, {"width": 1}, 6, stages=3)
    assert [schedule.at(step).width for step in range(7)] == [3, 3, 2, 2, 1, 1, 1]


def test_a_chain_is_annealed_where_the_parameter_is():
    schedule = tl.anneal("rectangular >> noise(0.1) >> full_jam", {"sigma": 0.4}, {"sigma": 0}, 4)
    assert str(schedule.at(2)) == "rectangular(-0.5, 0.5) >> noise(0.2) >> full_jam"
    with pytest.raises(RuleValueError, match="has 2 rules with a parameter 'minimum'"):
        tl.anneal("full_jam >> positive_jam", {"minimum": 0}, {"minimum": 0.5}, 4)


def test_a_schedule_is_a_value():
    schedule = tl.anneal("atan", {"width": 2}, {"width": 1}, 10, stages=4)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(schedule) == hash(tl.anneal(tl.ATan(7, 1), {"width": 2.0}, {"width": 1}, 10, stages=4))
    assert schedule != tl.anneal("atan", {"width": 2}, {"width": 1}, 10)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("atam", {"width": 1}, {"width": 2}, 3), SpecError, "Did you mean 'atan'"),
        (
            ("atan", {"widht": 1}, {"widht": 2}, 3),
            RuleValueError,
            "no parameter 'widht'. Its parameters: height, width",
        ),
        (("frozen", {"width": 1}, {"width": 2}, 3), RuleValueError, "Its parameters: none"),
        (("atan", {"width": 1}, {"height": 2}, 3), RuleValueError, "the same parameters"),
        (("atan", {"width": 1}, {"width": 0}, 3), RuleValueError, "width > 0"),
        (("few_bit(1)", {"bits": 1}, {"bits": 4}, 3), RuleTypeError, "bits must be an integer"),
        (("full_jam", {"replace": 1}, {"replace": 2}, 3), RuleTypeError, "replace must be one of"),
        (("atan", {"width": True}, {"width": 2}, 3), RuleTypeError, "width in from_ must be a number"),
        (("atan", 1, 2, 3), RuleTypeError, "from_ must map parameters to numbers"),
        (("atan", {"width": 1}, {"width": 2}, 0), RuleValueError, "steps must be at least 1"),
        (("atan", {"width": 1}, {"width": 2}, 1.5), RuleTypeError, "steps must be an integer"),
    ],
)
def test_what_cannot_be_is_said_where_the_schedule_is_made(arguments, error, words):
    with pytest.raises(error, match=words) as raised:
        tl.anneal(*arguments)
    assert "\n" not in str(raised.value)


def test_options_are_checked_too():
    with pytest.raises(RuleValueError, match="stages must be at least 2"):
        tl.anneal("atan", {"width": 1}, {"width": 2}, 3, stages=1)
    with pytest.raises(RuleValueError, match="curve must be one of linear, geometric"):
        tl.anneal("atan", {"width": 1}, {"width": 2}, 3, curve="cosine")
    with pytest.raises(RuleValueError, match=r"two numbers of one sign, got low from -1\.0 to 0\.0"):
        tl.anneal("rectangular", {"low": -1}, {"low": 0}, 3, curve="geometric")


@given(
    first=POSITIVE,
    last=POSITIVE,
    steps=st.integers(1, 1000),
    curve=st.sampled_from(["linear", "geometric"]),
    stages=st.none() | st.integers(2, 9),
)
def test_its_text_is_read_back(first, last, steps, curve, stages):
    assume(first != last)
    schedule = tl.anneal(
        "rectangular >> noise(1)", {"sigma": first}, {"sigma": last}, steps, curve=curve, stages=stages
    )
    assert rule_schedule(str(schedule)) == schedule
    written = spelling.rule(str(schedule))
    assert spelling.rule(written) == written
    assert rule_schedule(written) == schedule


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("anneal('atan(2)', 'erf(1)', steps=5)", RuleValueError, "another one of its kind, got atan.* and erf"),
        ("anneal('atan(2)', 'atan(2)', steps=5)", RuleValueError, "got atan.* twice"),
        ("anneal('atan(2)', 'atan(1)')", SpecError, "missing a required argument: 'steps'"),
        ("anneal('atan(2)', steps=3)", SpecError, "missing a required argument: 'last'"),
        ("anneal('atan(2)', 'atan(1)', steps=0)", RuleValueError, "steps must be at least 1"),
        ("anneal('atan(2)', 'atan(1)', step=3)", SpecError, "no parameter 'step'"),
        ("anneal('atan(2)', 'atan(1)', steps=3, curve='cubic')", RuleValueError, "curve must be one of"),
        ("anneal('constant', 'constant(2)', steps=3) >> flip(0.1)", SpecError, "stands alone"),
        (
            "anneal('full_jam(replace=\"slope\")', 'full_jam(replace=\"magnitude\")', steps=3)",
            RuleTypeError,
            "a number",
        ),
    ],
)
def test_a_spec_that_cannot_be_is_said(spec, error, words):
    with pytest.raises(error, match=words) as raised:
        rule_schedule(spec)
    assert "\n" not in str(raised.value)


def test_a_schedule_of_ones_own_is_known_by_its_name(monkeypatch):
    monkeypatch.setattr(schedule, "_MAKERS", dict(schedule._MAKERS))

    @register_schedule("twice")
    def twice(rule: str):
        return tl.alternate(rule, rule)

    assert rule_schedule("twice('tied')") == tl.alternate("tied", "tied")
    for name, words in (("tied", "is a rule"), ("anneal", "exists already")):
        with pytest.raises(SpecError, match=words):
            register_schedule(name)(twice)
