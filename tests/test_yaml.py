"""YAML as values with lines: what is read, and what is refused with its line."""

import json
import math

import pytest
from hypothesis import given, strategies as st

from tieless._yaml import read_document, read_value
from tieless.errors import StudyError

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]))
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z]+", fullmatch=True), inner)
)


@given(VALUES, st.sampled_from([None, 2]))
def test_json_is_yaml(value, indent):
    assert read_value(json.dumps(value, ensure_ascii=False, indent=indent), "x") == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1.0", 1.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("", None),
        ("~", None),
        ("True", True),
        ("rectangular(-1, 1)", "rectangular(-1, 1)"),
        ("[relu, 'rectangular(-1, 1)']", ["relu", "rectangular(-1, 1)"]),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    read = read_value(text, "x")
    assert (type(read), read) == (type(value), value)


def test_every_value_knows_the_line_of_its_key():
    document = read_document("title: >\n  long\n  text\ngrid:\n  epochs:\n    - 1\n    - 2\n", "s.yaml")
    assert document.lines["title",] == 1
    assert document.lines["grid", "epochs"] == 5
    assert document.lines["grid", "epochs", 1] == 7


def test_an_error_without_a_line_of_its_own_takes_the_nearest_around_it():
    document = read_document("a: 1\ngrid:\n  epochs: 1\n", "s.yaml")
    assert str(document.error(("grid", "batch"), "is missing")) == "s.yaml:2: grid.batch: is missing"
    assert str(document.error(("grid", "seeds", 3), "odd")) == "s.yaml:2: grid.seeds[3]: odd"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", r"s\.yaml:3: 'a' is given twice\."),
        ("g:\n  a: {b: 1, b: 1}\n", r"s\.yaml:2: 'b' is given twice\."),
        ("a: &x 1\nb: *x\n", r"s\.yaml:2: aliases are not read"),
        ("a: 1\nb: !!python/object:os.system 1\n", r"s\.yaml:2: the tag .*python/object.* is not read here\."),
        ("a: !!int x\n", r"s\.yaml:1: 'x' does not fit its tag"),
        ("a: !!bool maybe\n", r"s\.yaml:1: 'maybe' does not fit its tag"),
        ("a: [1\n", r"s\.yaml:2: expected ',' or '\]'"),
        ("a: 1\n---\na: 2\n", r"s\.yaml:2: "),
        ("{[1]: 2}", r"s\.yaml:1: expected a name as the key\."),
        ("- 1\n", r"s\.yaml: expected 'key: value' lines, got \[1\]\."),
        ("", r"s\.yaml: expected 'key: value' lines, got nothing\."),
        ("a: \x00", r"s\.yaml: not YAML text: "),
        ("a: " + "[" * 100_000, r"s\.yaml: nested too deep"),
        ("a: " + "9" * 5000, r"s\.yaml:1: .* does not fit its tag"),
    ],
    ids=lambda value: value[:20],
)
def test_refuses_in_one_line_that_says_where(text, message):
    with pytest.raises(StudyError, match=f"^{message}") as caught:
        read_document(text, "s.yaml")
    assert "\n" not in str(caught.value)
