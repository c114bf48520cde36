"""The grammar of specs: everything written is read back, and a fault is reported in one line."""

import pytest
from hypothesis import given, strategies as st

from tieless.errors import SpecError
from tieless.grammar import Call, format_call, parse_call, parse_chain

NAMES = st.from_regex(r"\A[A-Za-z_][A-Za-z0-9_]{0,8}(-[a-z0-9]{1,4})?\Z").filter(
    lambda name: name not in ("true", "false", "True", "False")
)
KEYS = st.from_regex(r"\A[a-z_][a-z0-9_]{0,8}\Z")
TEXT = st.text(st.characters(blacklist_characters="\"'"), max_size=10)
VALUES = st.integers(-(10**9), 10**9) | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | TEXT
CALLS = st.builds(Call, NAMES, st.lists(VALUES, max_size=4).map(tuple), st.dictionaries(KEYS, VALUES, max_size=4))


def _typed(call):
    return [(type(value), value) for value in (*call.args, *call.kwargs.values())]


@given(CALLS)
def test_what_is_written_is_read_back(call):
    again = parse_call(format_call(call))
    assert again == call
    assert _typed(again) == _typed(call)


@given(st.lists(CALLS, min_size=1, max_size=4))
def test_chains_too(calls):
    assert list(parse_chain("  >>  ".join(map(format_call, calls)))) == calls


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_in_one_line(text):
    try:
        parse_chain(text)
    except SpecError as error:
        message = str(error)
    else:
        return
    assert len(message.splitlines()) == 1
    assert "expected" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a name at column 1, got the end"),
        ("relu(", "expected a number, a quoted string, true or false at column 6, got the end"),
        ("relu(1", "expected ',' or ')'"),
        ("relu(1 2)", "expected ',' or ')' at column 8, got '2)'"),
        ("a(b=1, 2)", "positional ones come first"),
        ("a(b=1, b=2)", "'b' was given before"),
        ("a >>", "expected a name at column 5"),
        ("a b", "expected '>>' or the end"),
        ("__import__('os').system('true')", "expected a name, a value"),
        ("a(b(c))", "expected a number"),
        ("a(1.2.3)", "column 3"),
        ("a('x)", "column 3"),
    ],
)
def test_what_is_wrong_is_shown(text, says):
    with pytest.raises(SpecError) as caught:
        parse_chain(text)
    assert says in str(caught.value)


HOSTILE = {
    "whole": "a({0}x)".format,
    "fraction": "a(1.{0}x)".format,
    "exponent": "a(1e{0}x)".format,
    "digits and dots": lambda digits: f"a({'1.' * len(digits)})",
    "names": lambda digits: "a-" * len(digits),
    "calls": lambda digits: "a(b=" * len(digits),
    "surrogates": lambda digits: "\ud800" * len(digits),
}


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_the_work_grows_with_the_length_of_the_text(make):
    with pytest.raises(SpecError) as caught:
        parse_chain(make("1" * 20_000))  # quadratic time is 20 s, cubic one longer than anybody waits
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("digits", ["9" * 309, "9" * 400, "-" + "9" * 400, "+" + "9" * 5000, "1" + "0" * 309])
def test_a_whole_number_is_at_most_what_a_float_can_hold(digits):
    with pytest.raises(SpecError, match="expected a number that a float can hold at column 3"):
        parse_chain(f"a({digits})")


def test_the_largest_whole_numbers_are_read():
    assert parse_call(f"a({'9' * 308}, {'0' * 5000}7, -0)").args == (int("9" * 308), 7, 0)


@pytest.mark.parametrize("text", ["a(\u0663)", "a(\uff13.\uff15)", "a(1\u0663)", "a(1e\u0663)", "a(\u00b2)"])
def test_digits_are_those_of_python_numbers(text):
    with pytest.raises(SpecError, match="column 3"):
        parse_chain(text)


def test_names_have_letters_of_any_script():
    assert parse_call("\u00e4hnlich(\u00f6=1)") == Call("\u00e4hnlich", (), {"\u00f6": 1})


def test_one_call_is_not_a_chain():
    with pytest.raises(SpecError, match="got 2 joined"):
        parse_call("a >> b")
