"""The grammar of claims: what it reads, what it says back, and what it refuses."""

import json

import pytest
from hypothesis import given, strategies as st

from tieless.errors import StudyError
from tieless.study.claims import Claim, parse_claim

rules = st.sampled_from(
    ["tied", "frozen", "constant(1)", "full_jam", 'positive_jam(gate="feedback")', "rectangular(-1, 1) >> noise(0.1)"]
)
fields = st.fixed_dictionaries(
    {},
    optional={
        "forward": st.lists(st.sampled_from(["relu", "logistic", "staircase(4)"]), min_size=1, max_size=2, unique=True),
        "optimiser": st.just(["adam(weight_decay=0.01)", "sgd"]),
        "learning_rate": st.lists(st.sampled_from([0.1, 1e-4, 2.0]), min_size=1, max_size=3, unique=True),
        "data": st.just(["ones(10, 0.5, 2000)"]),
        "model": st.just(['lenet5(norm="batch")']),
        "subset": st.sampled_from([[None], [20000]]),
        "batch": st.just([64, 32]),
        "epochs": st.just([5]),
    },
)


@st.composite
def claims(draw):
    candidate, baseline = draw(st.lists(rules, min_size=2, max_size=2, unique=True))
    where = tuple((name, tuple(values)) for name, values in draw(fields).items())
    # What a side has of its own, no clause gives.
    names = ["forward", "optimiser", "learning_rate"]
    own = {
        "forward": ("heaviside", draw(st.sampled_from(["relu", "heaviside"]))),
        "optimiser": ("adam", draw(st.sampled_from(["sgd", "adam"]))),
        "learning_rate": (0.02, draw(st.sampled_from([1e-4, 0.02]))),
    }
    apart = [(name, *own[name]) for name in names if name not in dict(where) and draw(st.booleans())]
    return Claim(
        candidate=candidate,
        apart=tuple(apart),
        relation=draw(st.sampled_from(["non-inferior to", "superior to", "inferior to", "equivalent to"])),
        baseline=baseline,
        margin=draw(st.sampled_from([0.25, 1.0, 20.0])),
        where=where,
        chosen=draw(st.booleans()) and "learning_rate" not in {*dict(where), *(name for name, *_ in apart)},
    )


@given(claims())
def test_what_a_claim_says_of_itself_is_read_back(claim):
    again = parse_claim(str(claim))
    assert dict(again.where) == dict(claim.where)
    assert (again.candidate, again.relation, again.baseline) == (claim.candidate, claim.relation, claim.baseline)
    assert (again.margin, again.chosen, again.apart) == (claim.margin, claim.chosen, claim.apart)
    assert str(again) == str(parse_claim(str(again)))
    assert Claim.from_dict(json.loads(json.dumps(again.to_dict()))) == again


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
        ("relu + tied is superior to linear + tied + 3", r"expected one of at, by, for, .*, got '\+'"),
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
        ("tied is superior to __import__('os')", "Cannot read|Unknown rule"),
    ],
)
def test_anything_else_is_refused_in_one_line_that_shows_the_forms(sentence, problem):
    with pytest.raises(StudyError, match=problem) as caught:
        parse_claim(sentence)
    assert "\n" not in str(caught.value)
    assert "A claim reads: RULE is non-inferior|superior|inferior|equivalent to RULE [by NUMBER points]" in str(
        caught.value
    )
