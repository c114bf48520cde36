"""Guarantee 2: what PyTorch does, and what every forward with every rule does then.

What is asked is in the files beside this one: of a cross-section of the pairs, or with ``--all`` of every pair, as
``python -m tests.matrix`` does, which publishes the answers.
"""

from collections import Counter

import pytest
import torch

from tests.matrix import compiling
from tests.matrix.asking import (
    CLOSE,
    COMPARISONS,
    EQUAL,
    REFUSED,
    THREE_SIZES,
    TWO_SIZES,
    compared,
    gradient,
    in_graphs,
    input_of,
    layers,
    sizes_of,
    worst,
)
from tests.matrix.page import CHECKS, PAGE, read, render
from tests.pairs import EVERY_PAIR, FORWARDS, RULES, asked, cross_section, kinds_of
from tieless.functional import pair_of

# Torch's own: what it is about to drop, and what Dynamo and the exporters do while they trace.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

AT_ONCE = 100
"""Pairs in one test."""
JAMS = [rule for rule in RULES if rule.split("(")[0].endswith("_jam") and ">>" not in rule]
REFUSED_OF = {
    "jacfwd": lambda pair: True,
    "jvp": lambda pair: True,
    "double backward": lambda pair: not pair_of(*pair).linear,
}
"""Of which pairs a check is refused; of none, if it is not here."""
ELSEWHERE = {"DDP", "threads"}
"""What compares in processes of its own, or in threads, which count wrongly."""
VALUES_ALONE = {"export", "ONNX", "ONNX (older)", "jit.trace"}
"""Checks of exported programs, which have values alone: where these are close and not equal, the forward is."""
BY_TITLE = {check.title: check for check in CHECKS}


def test_forwards_with_rules(title, pairs):
    check = BY_TITLE[title]
    if check.missing():
        pytest.skip(check.missing())
    COMPARISONS.clear()
    answers = check.run(pairs)
    assert list(answers) == list(pairs)
    wrong = {pair: answer for pair, answer in answers.items() if answer not in {EQUAL, CLOSE, REFUSED}}
    assert not wrong
    assert title in ELSEWHERE or COMPARISONS.total() == check.times * len(pairs)
    assert _refused(answers) == _to_be_refused(title, pairs)
    assert _exact_where_it_must_be(title, answers)


def _exact_where_it_must_be(title, answers):
    """True if jams are equal bit for bit: eager, compiled, checkpointed, resumed, transformed and in processes."""
    return title in VALUES_ALONE or {answers[pair] for pair in answers if pair[1] in JAMS} <= {EQUAL, REFUSED}


def _refused(answers):
    return {pair for pair, answer in answers.items() if answer == REFUSED}


def _to_be_refused(title, pairs):
    return set(filter(REFUSED_OF.get(title, lambda pair: False), pairs))


def pytest_generate_tests(metafunc):
    """The pairs of a check, a hundred at a time: where there are many, processes share them."""
    if "pairs" in metafunc.fixturenames:
        metafunc.parametrize(
            ("title", "pairs"),
            [
                pytest.param(check.title, pairs[first : first + AT_ONCE], id=f"{check.title} {first}")
                for check in CHECKS
                for pairs in [asked(metafunc.config, check.title, check.most, first=JAMS)]
                for first in range(0, len(pairs), AT_ONCE)
            ],
        )


def test_a_bool_mask_is_seen_where_there_is_one():
    from torch._inductor.utils import run_and_get_code  # loads the compiler

    def masked(x):
        return x * (x > 0).cumsum(0).bool()

    torch._dynamo.reset()
    _, sources = run_and_get_code(lambda: gradient(torch.compile(masked), input_of()))
    assert compiling.stores_a_mask(sources)


def test_what_is_published_is_what_is_true_of_these_pairs():
    published = read()
    for check in CHECKS:
        answers = published.get(check.title, {})
        assert len(answers) == len(set(answers)) > 500
        assert set(answers) <= set(EVERY_PAIR), f"python -m tests.matrix '{check.title}'"
        assert set(answers.values()) <= {EQUAL, CLOSE, REFUSED}
        assert _refused(answers) == _to_be_refused(check.title, answers)
        assert _exact_where_it_must_be(check.title, answers)
    assert PAGE.read_text() == render(published)


def test_every_size_is_asked_of_dozens_of_pairs():
    asked = Counter(size for pair in EVERY_PAIR for size in sizes_of(*pair))
    assert sorted(asked) == list(range(1, 34))
    assert min(asked.values()) > 70
    assert {sizes_of(*pair)[0] for pair in EVERY_PAIR} == {8}
    sections = [cross_section(check.title) for check in CHECKS if check.inputs in {TWO_SIZES, THREE_SIZES}]
    assert sorted({sizes_of(*pair)[1] for section in sections for pair in section}) == list(range(1, 34))


def test_each_cross_section_has_every_forward_rule_and_kind_beside_kind_and_together_they_have_most_pairs():
    assert kinds_of("tanh", "erf(0.5)") == kinds_of("gelu", "atan") != kinds_of("sign", "atan")
    sections = [cross_section(check.title) for check in CHECKS]
    for section in sections:
        assert len(section) == len(set(section))
        assert ({forward for forward, _ in section}, {rule for _, rule in section}) == (set(FORWARDS), set(RULES))
        assert {kinds_of(*pair) for pair in section} == {kinds_of(*pair) for pair in EVERY_PAIR}
    assert len(JAMS) == 9 < min(check.most for check in CHECKS if check.most)
    assert len(set().union(*sections)) > 0.7 * len(EVERY_PAIR)


def test_a_wrong_answer_is_seen():
    """A check that cannot fail is worth nothing: a rule that forgets itself under a transform, and an error."""
    z = input_of()
    expected = gradient(layers("relu", "constant(0.5)"), z)
    assert compared(gradient(torch.relu, z), expected).startswith("off by")
    assert compared(expected[:1], expected) == "shape (1, 12), not (4, 12)"
    assert compared(expected.nextafter(expected + 1), expected) == CLOSE
    assert worst([EQUAL, CLOSE]) == CLOSE
    assert worst([EQUAL, REFUSED]) == "refused in some ways and not in others"
    assert worst([REFUSED, "off by 3"]) == "off by 3"

    def fails(pairs):
        if ("relu", "b") in pairs:
            raise ValueError("no\nmore")
        return dict.fromkeys(pairs, EQUAL)

    assert in_graphs(fails)([("relu", "a"), ("relu", "b")]) == {("relu", "a"): EQUAL, ("relu", "b"): "ValueError: no"}
