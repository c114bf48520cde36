"""The grammar of claims: what it reads, what it says back, and what it refuses."""

import json

import pytest
from hypothesis import assume, given, settings, strategies as st

from tests.study.fakes import claiming
from tieless.errors import StudyError, TielessError
from tieless.study import judge
from tieless.study.claims import Claim, parse_claim

rules = st.sampled_from(
    ["tied", "frozen", "constant(1)", "full_jam", 'positive_jam(gate="feedback")', "rectangular(-1, 1) >> noise(0.1)"]
)
forwards = ["relu", "logistic", "staircase(4)", "heaviside"]
optimisers = ["adam(weight_decay=0.01)", "sgd", "adam", "bop(1e-08, 0.0001)"]
rates = st.floats(1e-300, 1e299) | st.sampled_from([0.1, 1e-4, 2.0, 0.001234567])


def some(values):
    """One value or several, which may be the same."""
    return st.lists(values, min_size=1, max_size=3).map(tuple)


# What a claim may say of the cells it is about, in the order in which it says it.
fields = {
    "forward": some(st.sampled_from(forwards)),
    "optimiser": some(st.sampled_from(optimisers)),
    "learning_rate": some(rates),
    "data": some(st.sampled_from(["ones(10, 0.5, 2000)", "digits", "fashion-mnist"])),
    "model": some(st.sampled_from(['lenet5(norm="batch")', "mlp(64, 2)"])),
    "init": some(st.sampled_from(["default", "gain_matched", "orthogonal"])),
    "weights": some(st.sampled_from(["float", "binary", "k_bit(4)"])),
    "feedback": some(st.sampled_from(["tied", "fa", "dfa"])),
    "augment": some(st.sampled_from(["none", "shift(2) >> flip", "flip"])),
    "schedule": some(st.sampled_from(["constant", "linear(warmup=0.1)"])),
    "loss": some(st.sampled_from(["mse", "cross_entropy"])),
    "device": some(st.sampled_from(["cpu", "cuda:0"])),
    "denormals": some(st.sampled_from(["kept", "flushed"])),
    "compile": some(st.sampled_from(["no", "inductor"])),
    "batch": some(st.integers(1, 10**12)),
    "epochs": some(st.integers(1, 1000)),
    "subset": some(st.none() | st.integers(1, 10**6)),
    "validation": some(st.none() | st.floats(1e-9, 1, exclude_max=True)),
}
own = {
    "forward": st.sampled_from(forwards),
    "feedback": st.sampled_from(["tied", "fa", "dfa"]),
    "optimiser": st.sampled_from(optimisers),
    "learning_rate": rates,
    "init": st.sampled_from(["default", "gain_matched", "orthogonal"]),
}


@st.composite
def claims(draw):
    apart = tuple((name, draw(own[name]), draw(own[name])) for name in own if draw(st.booleans()))
    chosen = "learning_rate" not in dict(
        where := [(name, draw(fields[name])) for name in fields if draw(st.booleans())]
    )
    # What a side has of its own, no clause gives.
    where = tuple((name, values) for name, values in where if name not in {one[0] for one in apart})
    candidate, baseline = draw(rules), draw(rules)
    assume(candidate != baseline or any(ours != theirs for _, ours, theirs in apart))
    relation = draw(st.sampled_from(["non-inferior to", "superior to", "inferior to", "equivalent to"]))
    return Claim(
        candidate=candidate,
        apart=apart,
        relation=relation,
        baseline=baseline,
        margin=draw(st.floats(1e-9 if relation == "equivalent to" else 0, 100, exclude_max=True)),
        where=where,
        chosen=chosen and draw(st.booleans()) and "learning_rate" not in {name for name, *_ in apart},
        label=draw(st.sampled_from(["", "Claim 4"])),
    )


@settings(deadline=None)
@given(claims())
def test_what_a_claim_says_of_itself_is_read_back(claim):
    assert parse_claim(str(claim), claim.label) == claim
    assert Claim.from_dict(json.loads(json.dumps(claim.to_dict()))) == claim


@pytest.mark.parametrize(
    "sentence",
    [
        "constant through tied is superior to tied through tied",
        "constant is superior to tied through tied",
        "constant through tied under sgd is superior to tied through fa under adam",
        "constant is superior to tied at 0.001234567",
        "constant is superior to tied by 0.30000000000000004 points at 1e-05 and 123456789",
        "constant from orthogonal is superior to tied from default",
        "constant under sgd at 0.1 from orthogonal is superior to tied under adam at 0.2 from default",
        "constant is superior to tied from gain_matched and orthogonal",
        "constant is superior to tied where augment=shift(2) >> flip and batch=64",
    ],
)
def test_a_claim_that_was_judged_is_the_one_that_is_shown(sentence):
    claim = parse_claim(sentence)
    assert parse_claim(str(claim)) == claim


def test_a_claim_is_read_word_by_word():
    claim = parse_claim(
        'positive_jam( gate = "feedback" )  is inferior to tied by 20 points under sgd at 0.1 and 1e-2'
        " for relu and linear where batch=64 and epochs=5 and batch=32",
        "Claim 4",
    )
    assert claim == Claim(
        candidate='positive_jam(gate="feedback")',
        relation="inferior to",
        baseline="tied",
        margin=20.0,
        where=(
            ("forward", ("relu", "linear")),
            ("optimiser", ("sgd",)),
            ("learning_rate", (0.1, 0.01)),
            ("batch", (64, 32)),
            ("epochs", (5,)),
        ),
        label="Claim 4",
    )


def test_the_margin_is_one_point_unless_it_is_said_and_is_said_back():
    assert parse_claim("constant is equivalent to tied").margin == 1
    assert str(parse_claim("constant is superior to tied")) == "constant(1) is superior to tied by 1 point"
    assert parse_claim("constant is superior to tied by 0 points").margin == 0


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ("", "expected a rule, got the end"),
        ("full_jam", "expected 'is', got the end"),
        ("full_jam is non-inferor to tied", "expected one of non-inferior, .*, got 'non-inferor'"),
        ("full_jam is not worse than tied", "expected one of .*, got 'not'"),
        ("full_jam is superior than tied", "expected the word to, got 'than'"),
        ("full_jam non-inferior to tied", "Cannot read spec"),
        ("full_jm is superior to tied", "Unknown rule 'full_jm'. Did you mean 'full_jam'"),
        ("full_jam is superior to tied for rleu", "Unknown forward 'rleu'. Did you mean 'relu'"),
        ("full_jam is superior to tied under adm", "Unknown optimiser 'adm'"),
        ("full_jam is superior to tied fro relu", "Cannot read spec 'tied fro relu'"),
        ("full_jam is superior to tied for relu under", "expected an optimiser, got the end"),
        ("full_jam is superior to tied by one point", "expected a margin .*, got 'one'"),
        ("full_jam is superior to tied by -1 points", "expected a margin .*, got '-1'"),
        ("full_jam is superior to tied by nan points", "expected a margin .*, got 'nan'"),
        ("full_jam is superior to tied by 1 for relu", "expected 'points', got 'for'"),
        ("full_jam is superior to tied by 1 %", "expected 'points', got '%'"),
        ("full_jam is equivalent to tied by 0 points", "give a margin"),
        ("full_jam is superior to tied for relu for linear", "'for' stands there twice"),
        ("full_jam is superior to tied at the best rate", "expected 'the chosen rate', got 'best'"),
        ("full_jam is superior to tied at fast", "expected a number > 0 for learning_rate, got 'fast'"),
        ("full_jam is superior to tied at 1e999", "expected a number > 0 for learning_rate, got '1e999'"),
        ("full_jam is superior to tied at .nan", "expected a number > 0 for learning_rate, got '.nan'"),
        (f"full_jam is superior to tied at {10**400}", "expected a number > 0 for learning_rate, got '1000"),
        ("full_jam is superior to tied where subset=nothing", "expected an integer > 0 for subset, got 'nothing'"),
        ("full_jam is superior to tied where batch=3 4", "expected an integer > 0 for batch, got '3 4'"),
        ('"full_jam is superior to tied', "Cannot read spec"),
        ("full_jam is superior to tied'", "Cannot read spec"),
        ("full_jam is superior to tied at 0", "expected a number > 0 for learning_rate, got '0'"),
        ("full_jam is superior to tied at the chosen rate where learning_rate=1", "either chosen or given"),
        ("full_jam is superior to tied where bach=3", "Unknown field 'bach'. Did you mean 'batch'"),
        ("full_jam is superior to tied where batch = 3", "expected FIELD=VALUE, without spaces"),
        ("full_jam is superior to tied where batch=3.5", "expected an integer > 0 for batch, got '3.5'"),
        ("full_jam is superior to tied where seed=3", "Unknown field 'seed'"),
        ("full_jam is superior to tied under adam where optimiser=sgd", "optimiser is given twice"),
        ("tied is superior to tied", "tied is compared with itself"),
        ("relu + tied is superior to relu + tied", r"relu \+ tied is compared with itself"),
        ("relu + tied is superior to full_jam", r"one side names a forward and the other none"),
        ("full_jam is superior to relu + tied", r"one side names a forward and the other none"),
        ("relu + tied is superior to linear + tied for relu", "each side has its forward, and a clause gives another"),
        ("relu + is superior to linear + tied", "expected a rule, got 'is'"),
        ("+ tied is superior to linear + tied", r"expected a forward, got '\+'"),
        ("relu + tied + tied is superior to linear + tied", r"expected 'is', got '\+'"),
        ("relu + tied is superior to linear + tied + 3", r"expected one of allowing, at, by, for, .*, got '\+'"),
        ("tied under sgd is superior to tied", "expected 'under' and the baseline's optimiser, .*, got the end"),
        ("tied under sgd is superior to tied under sgd", "tied under sgd is compared with itself"),
        ("tied at 0.1 is superior to tied at 0.1", r"tied at 0\.1 is compared with itself"),
        ("tied at 0.1 is superior to frozen", "expected 'at' and the baseline's learning rate, .*, got the end"),
        ("tied under sgd at 0.1 is superior to tied under adam", "expected 'at' and the baseline's learning rate"),
        ("tied at 0.1 is superior to frozen at the chosen rate", "expected a number > 0 for learning_rate, got 'the'"),
        (
            "tied at 0.1 is superior to frozen at 0.2 at 0.3",
            "each side has its learning rate, and a clause gives another",
        ),
        ("tied at 0.1 is superior to frozen at 0.2 at the chosen rate", "the rate is either chosen or given"),
        ("tied at 0.1 under sgd is superior to tied at 0.2 under adam", "expected 'is', got 'under'"),
        ("tied under sgd is superior to tied under adam under sgd", "each side has its optimiser"),
        ("tied from orthogonal is superior to tied", "expected 'from' and the baseline's init, .*, got the end"),
        ("tied from default is superior to tied from default", "tied from default is compared with itself"),
        ("tied from default is superior to tied from orthogonal from default", "each side has its init"),
        ("tied from orthgonal is superior to tied from default", "Unknown .*'orthgonal'. Did you mean 'orthogonal'"),
        ("tied is superior to __import__('os')", "Cannot read|Unknown rule"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_shows_the_forms(sentence, problem):
    with pytest.raises(StudyError, match=problem) as caught:
        parse_claim(sentence)
    assert "\n" not in str(caught.value)
    assert "A claim reads: RULE is non-inferior|superior|inferior|equivalent to RULE [by NUMBER points|UNIT]" in str(
        caught.value
    )


WORDS = [
    *[
        "full_jam",
        "tied",
        "constant",
        "is",
        "non-inferior",
        "superior",
        "to",
        "by",
        "1",
        "point",
        "points",
        "for",
        "relu",
        "logistic",
        "under",
        "sgd",
        "at",
        "0.1",
    ]
]
WORDS += [
    "the",
    "chosen",
    "rate",
    "on",
    "ones",
    "with",
    "suc",
    "where",
    "batch=32",
    "and",
    "through",
    "fa",
    "+",
    "",
    "\x1b[0m",
]
WORDS += [
    "null",
    "1e999",
    "-1",
    "nan",
    "'",
    '"',
    "(",
    ")",
    ">>",
    "=",
    "batch=",
    "\N{DEVANAGARI DIGIT ONE}",
    "9" * 400,
    "[",
    "{",
    "&a",
]


@settings(deadline=None)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=4), max_size=14), st.booleans())
def test_whatever_is_asked_is_answered_or_refused_in_one_line(words, whole):
    """A sentence of slips: of a study that has cells of both rules, of logistic alone."""
    study = claiming()
    sentence = " ".join(["full_jam is superior to tied", *words] if whole else words)
    refused = ""
    try:
        (verdict,) = judge([claim := parse_claim(sentence)], study, [])
    except TielessError as error:
        refused = str(error)
    else:
        assert verdict.text == "undecided: not run yet"
        assert parse_claim(str(claim)) == claim
    assert len(refused.splitlines()) <= 1, sentence
