"""Plan of a C program: operations of a packed network that run together, and values that are stored between them."""

import numpy as np
import pytest
from tieless_runtime import Network
from tieless_runtime.operations import (
    Add,
    Affine,
    Concat,
    Conv,
    Flatten,
    Lif,
    Linear,
    MaxPool,
    Quantise,
    SumTime,
    Threshold,
)
from tieless_runtime.weights import Weight

from tieless.deploy.c.plan import Plan

ONES = np.ones(4, np.int32)
SIGN = {"thresholds": ONES[None], "direction": np.ones(4, np.int8), "low": -1, "step": 2}
CELL = {
    "beta": ONES[:1],
    "shift": 0,
    "threshold": 1.0,
    "at_threshold": 0,
    "reset": "zero",
    "delay_reset": 0,
    "times": 3,
}
LINE = {"factor": ONES, "offset": ONES}


def conv(channels=4):
    weight = Weight("binary", np.ones((4, channels, 1, 1), np.int8))
    return {"weight": weight, "bias": None, "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1}


def linear(features=64):
    return {"weight": Weight("binary", np.ones((4, features), np.int8)), "bias": None}


def pool(size, step):
    return {"kernel": (size, size), "stride": (step, step), "padding": (0, 0), "dilation": (1, 1), "least": None}


def network(output, *rows, shape=(4, 4, 4)):
    """Network behind a quantised input ``q``, each operation as its output, its class, its inputs and its settings."""
    first = Quantise(name="", inputs=("input",), output="q", scale=1.0, low=0, high=255)
    rest = [cls(name=name, inputs=tuple(inputs.split()), output=name, **given) for name, cls, inputs, given in rows]
    return Network(shape, (first, *rest), output)


def stages(output, *rows, **settings):
    """Names of the values of each stage of its plan."""
    return [[name.split()[-1] for name in stage.names] for stage in Plan(network(output, *rows, **settings)).stages]


A, B = ("a", Conv, "q", conv()), ("b", Threshold, "a", SIGN)


def test_a_product_its_line_and_its_steps_run_together():
    assert stages("b", A, ("l", Affine, "a", LINE), ("b", Threshold, "l", SIGN)) == [["a", "l", "b"]]


def test_what_the_scores_do_not_need_is_left_out():
    dead = Weight("float", np.ones((4, 64), np.float32))
    assert stages("b", A, ("x", Flatten, "input", {}), ("y", Linear, "x", {"weight": dead, "bias": None}), B) == [
        ["a", "b"]
    ]


def test_a_value_that_is_taken_twice_is_stored():
    assert stages("s", A, B, ("c", Threshold, "a", SIGN), ("s", Add, "b c", {})) == [["a"], ["b"], ["c", "s"]]


def test_a_sum_joins_the_later_of_its_values():
    assert stages("s", A, ("c", Conv, "q", conv()), ("s", Add, "a c", {})) == [["a"], ["c", "s"]]
    assert stages("s", A, ("c", Conv, "q", conv()), ("s", Add, "c a", {})) == [["a"], ["c", "s"]]


def test_a_stage_runs_when_all_that_it_takes_is_there():
    """The first convolution waits for what is added to it, which starts later."""
    rows = (A, ("c", Conv, "q", conv()), ("d", Concat, "c c", {}), ("e", Conv, "d", conv(8)))
    assert stages("u", *rows, ("s", Add, "a e", {}), ("u", Add, "s e", {})) == [["c"], ["d"], ["e"], ["a", "s", "u"]]


@pytest.mark.parametrize(("size", "step", "together"), [(2, 2, True), (2, 3, True), (2, 1, False)])
def test_a_pool_of_windows_apart_runs_with_what_it_takes(size, step, together):
    found = stages("p", A, B, ("p", MaxPool, "b", pool(size, step)))
    assert found == ([["a", "b", "p"]] if together else [["a", "b"], ["p"]])


def test_a_stage_has_one_pool():
    again = stages(
        "o", A, ("p", MaxPool, "a", pool(2, 2)), ("b", Threshold, "p", SIGN), ("o", MaxPool, "b", pool(2, 2))
    )
    assert again == [["a", "p", "b"], ["o"]]


def test_what_happens_behind_a_pool_is_of_its_results():
    plan = Plan(network("b", A, ("l", Affine, "a", LINE), ("p", MaxPool, "l", pool(2, 2)), ("b", Threshold, "p", SIGN)))
    (stage,) = plan.stages
    assert [link.operation.name for link in stage.inner] == ["l"]
    assert [link.operation.name for link in stage.outer] == ["b"]


def test_a_pool_over_time_runs_by_itself():
    cell = ("v", Lif, "a", CELL)
    rows = (cell, ("t", SumTime, "v", {}), ("p", MaxPool, "t", pool(2, 2)))
    assert stages("p", A, *rows) == [["a", "v", "t"], ["p"]]
    rows = (cell, ("p", MaxPool, "v", pool(2, 2)), ("t", SumTime, "p", {}))
    assert stages("t", A, *rows) == [["a", "v"], ["p", "t"]]
    sums = (("t", SumTime, "v", {}), ("p", MaxPool, "t", pool(2, 2)), ("w", SumTime, "v", {}))
    rows = (cell, *sums, ("x", MaxPool, "w", pool(2, 2)), ("s", Add, "p x", {}))
    assert stages("s", A, *rows) == [["a", "v"], ["t"], ["p"], ["w"], ["x", "s"]]


def test_a_pool_of_joined_values_runs_by_itself():
    rows = (("j", Concat, "q q", {}), ("p", MaxPool, "j", pool(2, 2)))
    assert stages("p", *rows) == [["j"], ["p"]]
    assert Plan(network("p", *rows)).stages[0].links == []


def test_no_time_comes_behind_a_sum_over_time():
    rows = (A, ("v", Lif, "a", CELL), ("t", SumTime, "v", {}), ("l", Affine, "t", LINE))
    again = (("w", Lif, "l", CELL), ("u", SumTime, "w", {}))
    assert stages("u", *rows, *again) == [["a", "v", "t", "l"], ["w", "u"]]
    assert stages("b", *rows, ("b", Threshold, "l", SIGN)) == [["a", "v", "t", "l", "b"]]
    timed = (("c", Conv, "q", conv()), ("w", Lif, "c", CELL), *rows, ("s", Add, "l w", {}), ("u", SumTime, "s", {}))
    assert stages("u", *timed) == [["a", "v", "t", "l"], ["c", "w", "s", "u"]]


def test_a_flattened_value_is_read_as_it_is_by_linear_layers_alone():
    flat, head = ("f", Flatten, "b", {}), ("h", Linear, "f", linear())
    plan = Plan(network("h", A, B, flat, head))
    assert [stage.output for stage in plan.stages] == ["b", "h"]
    assert plan.view("f").base == "b"
    both = Plan(network("s", A, B, flat, head, ("s", Add, "h h", {})))
    assert [stage.output for stage in both.stages] == ["b", "h", "s"]
    assert (both.stages[-1].sources, both.stages[-1].others) == (("h",), ["h"])
    (whole,) = Plan(network("f", A, B, flat)).stages
    assert (whole.output, whole.flat) == ("f", True)
    joined = Plan(network("j", A, B, flat, ("j", Concat, "f f", {})))
    assert [(stage.output, stage.flat) for stage in joined.stages] == [("f", True), ("j", False)]


def test_a_flattened_input_is_seen_so_by_what_quantises_it():
    first = Flatten(name="", inputs=("input",), output="f")
    second = Quantise(name="", inputs=("f",), output="q", scale=1.0, low=0, high=255)
    third = Linear(name="", inputs=("q",), output="h", **linear())
    view = Plan(Network((4, 4, 4), (first, second, third), "h")).view("q")
    assert (view.base, view.quantise, view.flat) == ("input", second, True)


def test_a_value_of_one_place_is_flat_as_it_is():
    plan = Plan(network("f", A, ("f", Flatten, "a", {}), shape=(4, 1, 1)))
    assert [stage.flat for stage in plan.stages] == [False]


def test_nothing_comes_behind_a_flattened_value_in_its_stage():
    wide = {"thresholds": np.ones((1, 64), np.int32), "direction": np.ones(64, np.int8), "low": -1, "step": 2}
    assert stages("w", A, ("f", Flatten, "a", {}), ("w", Threshold, "f", wide)) == [["a", "f"], ["w"]]


def test_scores_that_are_taken_again_are_copied():
    assert stages("b", A, B, ("c", Conv, "b", conv()), ("s", Add, "c b", {})) == [["a", "b"]]
    for output in ("q", "f"):
        plan = Plan(network(output, ("f", Flatten, "q", {})))
        assert (plan.stages[-1].sources, plan.stages[-1].names) == ((output,), ["scores"])
