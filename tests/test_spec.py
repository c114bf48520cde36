"""The grammar of specs: everything written is read back, and what is wrong is said in one line."""

import pytest
from hypothesis import given, strategies as st

from tieless.errors import SpecError
from tieless.spec import Call, format_call, parse_call, parse_chain

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


def test_one_call_is_not_a_chain():
    with pytest.raises(SpecError, match="got 2 joined"):
        parse_call("a >> b")
