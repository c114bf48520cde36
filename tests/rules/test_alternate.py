"""Rules in turn: which rule which step has, one spelling, and what is refused."""

import pickle

import pytest
from hypothesis import given, strategies as st

import tieless as tl
from tests.pairs import RULES
from tieless.errors import RuleTypeError, RuleValueError, SpecError
from tieless.rules import rule_schedule
from tieless.study.settings import spelling


def test_each_has_its_turn():
    turns = tl.alternate("tied", "full_jam", "constant(0.5)", every=2)
    named = [str(turns.at(step)) for step in range(9)]
    assert named == ["tied"] * 2 + ["full_jam"] * 2 + ["constant(0.5)"] * 2 + ["tied"] * 2 + ["full_jam"]
    assert turns.at(10**6) == turns.at(10**6 % 6)


@given(st.lists(st.sampled_from(RULES), min_size=2, max_size=5), st.integers(1, 100))
def test_its_text_is_read_back(rules, every):
    turns = tl.alternate(*rules, every=every)
    assert rule_schedule(str(turns)) == turns == pickle.loads(pickle.dumps(turns))
    assert hash(rule_schedule(str(turns))) == hash(turns)
    assert spelling.rule(spelling.rule(str(turns))) == spelling.rule(str(turns))
    assert tl.rule(spelling.first_rule(spelling.rule(str(turns)))) == turns.at(0)


def test_two_spellings_are_one_trial():
    written = spelling.rule("alternate('rectangular(low=-1, high=1.0)', \"tied\", every=1)")
    assert written == 'alternate("rectangular(-1, 1)", "tied")'
    assert spelling.first_rule(written) == "rectangular(-1, 1)"
    assert spelling.first_rule("tied >> flip(0.1)") == "tied >> flip(0.1)"


@pytest.mark.parametrize(
    ("spec", "error", "words"),
    [
        ("alternate('tied')", RuleValueError, "at least two rules, got 1"),
        ("alternate('tied', 'tide')", SpecError, "Did you mean 'tied'"),
        ("alternate('tied', 'full_jam', every=0)", RuleValueError, "every must be at least 1, got 0"),
        ("alternate('tied', 'full_jam', every=1.5)", RuleTypeError, r"every must be an integer, got 1\.5"),
        ("alternate('tied', 'full_jam', evry=2)", SpecError, "no parameter 'evry'"),
        ("alternate('tied', 2)", SpecError, "quoted specs, got 2"),
        ("alternate('tied', 'full_jam') >> clip(1)", SpecError, "stands alone"),
        ("alternate(tied, full_jam)", SpecError, "a quoted string"),
        ("alternate('tied', \"alternate('tied', 'frozen')\")", SpecError, "alternate"),
    ],
)
def test_what_cannot_be_is_said(spec, error, words):
    with pytest.raises(error, match=words) as raised:
        rule_schedule(spec)
    assert "\n" not in str(raised.value)
