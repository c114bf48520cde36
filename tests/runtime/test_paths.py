"""Every path of the kernels against the reference: integers are equal, whatever the layer, its shape and its input."""

import copy
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tieless_runtime
from hypothesis import given, settings, strategies as st
from tieless_runtime import plan
from tieless_runtime.bits import ungrouped
from tieless_runtime.operations import Add, Affine, Conv, Lif, Linear, Prelu, Quantise, Rescale, SumTime, Threshold
from tieless_runtime.paths import PATHS, runnable
from tieless_runtime.weights import Weight

from tests.alone import run_alone
from tests.deploy import drawn
from tests.runtime import layers
from tests.runtime.networks import small_network, weight

HERE = [pytest.param(path, marks=[] if path in runnable() else pytest.mark.skip(f"no {path} here")) for path in PATHS]


@pytest.mark.parametrize("path", HERE)
@pytest.mark.parametrize("weights", layers.WEIGHTS)
@pytest.mark.parametrize("kind", layers.KINDS)
@settings(max_examples=25)
@given(data=st.data())
def test_a_layer_is_what_the_reference_says(kind, weights, path, data):
    network, images = data.draw(layers.networks(kind, weights))
    expected = tieless_runtime.evaluate(network, images)[network.output]
    found = tieless_runtime.Model(network, path=path)(images)
    assert found.dtype == np.int32
    assert (found == expected).all()


@pytest.mark.parametrize("path", HERE)
@pytest.mark.parametrize("kind", ["integers", "floats"])
@settings(max_examples=100)
@given(data=st.data())
def test_a_product_of_numbers_is_what_the_reference_says(kind, path, data):
    """Integers of one byte and of more, and floats whose sums are exact, as no order of additions is promised."""
    network, samples = data.draw(layers.networks_of_numbers(kind))
    expected = tieless_runtime.evaluate(network, samples)[network.output]
    assert (tieless_runtime.Model(network, path=path)(samples) == expected).all()


@settings(max_examples=300)
@given(network=st.one_of(drawn.networks(), drawn.convolutions()), seed=st.integers(0, 2**32 - 1))
def test_integer_layers_in_any_order_are_what_the_reference_says(network, seed):
    """Layers that follow each other in one pass among them, and those that must not."""
    rng = np.random.default_rng(seed)
    samples = (rng.standard_normal((4, *network.shape)) * rng.choice([1, 50])).astype(np.float32)
    expected = tieless_runtime.evaluate(network, samples)[network.output]
    assert (tieless_runtime.Model(network, path="plain")(samples) == expected).all()


@pytest.mark.parametrize("path", HERE)
def test_threads_and_parts_change_nothing(path, monkeypatch):
    network = small_network(np.random.default_rng(3))
    images = np.random.default_rng(4).random((37, 1, 8, 8))
    expected = tieless_runtime.Model(network, path=path)(images)
    monkeypatch.setattr("tieless_runtime.model.PART_BYTES", 3000)
    for threads in (1, 2, 3):
        assert (tieless_runtime.Model(network, path=path, threads=threads)(images) == expected).all()
    assert tieless_runtime.Model(network)(images[:0]).shape == (0, 10)


COPIES = {"pickle": lambda model: pickle.loads(pickle.dumps(model)), "copy": copy.deepcopy}


@pytest.mark.parametrize("copied", COPIES)
def test_a_model_that_has_run_is_copied(copied):
    images = np.random.default_rng(4).random((37, 1, 8, 8))
    model = tieless_runtime.Model(small_network(np.random.default_rng(3)), threads=2, path="plain")
    expected = model(images)
    again = COPIES[copied](model)
    assert (again.threads, again.path) == (2, "plain")
    assert (again(images) == expected).all()


def test_a_model_runs_in_a_fork_of_the_process_that_has_run_it():
    program = """
import os
import numpy as np
import tieless_runtime
from tests.runtime.networks import small_network
images = np.random.default_rng(4).random((37, 1, 8, 8))
model = tieless_runtime.Model(small_network(np.random.default_rng(3)), threads=2)
expected = model(images)
child = os.fork()
if child == 0:
    os._exit(0 if (model(images) == expected).all() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), (model(images) == expected).all())
"""
    assert run_alone(program, warnings="ignore", timeout=120) == "0 True\n"


def test_two_threads_run_one_model():
    images = np.random.default_rng(4).random((37, 1, 8, 8))
    expected = tieless_runtime.Model(small_network(np.random.default_rng(3)))(images)
    models = [tieless_runtime.Model(small_network(np.random.default_rng(3)), threads=1 + n % 2) for n in range(2)]
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda n: models[n % 2](images), range(40)):
            assert (found == expected).all()


def test_a_path_or_a_number_of_threads_that_does_not_exist_is_refused():
    network = small_network(np.random.default_rng(0))
    with pytest.raises(tieless_runtime.PackedInputError, match=r"There is no path 'sse' here; there are .*plain"):
        tieless_runtime.Model(network, path="sse")
    for threads in (0, True, 1.5):
        with pytest.raises(tieless_runtime.PackedInputError, match="threads must be 1 or more"):
            tieless_runtime.Model(network, threads=threads)


def test_a_cpu_that_numba_is_told_of_has_the_plain_path_alone():
    code = "from tieless_runtime.paths import runnable; print(*runnable())"
    environment = {**os.environ, "NUMBA_CPU_NAME": "generic"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["plain"]


def grouped(rng, channels, groups, kind, low, high):
    """Convolution in groups, of integers or of signs."""
    made = layers.Builder((channels, 9, 9))
    made.add(Quantise, scale=1.0, low=low, high=high)
    edges = rng.integers(low, high, (1, channels)).astype(np.int32)
    if high < 99:
        made.add(Threshold, thresholds=edges, direction=rng.choice([-1, 1], channels).astype(np.int8), low=-1, step=2)
    weights = weight(rng, kind, (2 * channels, channels // groups, 3, 3), 8 * (kind == "integer"))
    sizes = {"stride": (2, 1), "padding": (1, 1), "dilation": (1, 1), "groups": groups}
    made.add(Conv, weight=weights, bias=rng.integers(-99, 99, 2 * channels).astype(np.int32), **sizes)
    return made.network


def large(rng, features):
    """Linear layer whose sums go beyond what float32 holds exactly."""
    made = layers.Builder((features,))
    made.add(Quantise, scale=1.0, low=0, high=255)
    weights = Weight("integer", rng.integers(100, 128, (33, features)).astype(np.int8), 8)
    made.add(Linear, weight=weights, bias=rng.integers(2**27, 2**28, 33).astype(np.int32))
    return made.network


RNG = np.random.default_rng(0)
FAST = {
    "bits, depthwise": grouped(RNG, 70, 70, "binary", -8, 8),
    "bits, groups": grouped(RNG, 12, 3, "integer", -8, 8),
    "integers, groups": grouped(RNG, 6, 2, "ternary", -127, 127),
    "large sums": large(RNG, 3001),
}


@pytest.mark.parametrize("name", FAST)
@pytest.mark.parametrize("path", HERE)
def test_groups_and_large_sums_are_not_left_to_the_reference(name, path, monkeypatch):
    network = FAST[name]
    low, high = (network.operations[0].low, network.operations[0].high)
    images = np.random.default_rng(1).integers(low, high + 1, (5, *network.shape)).astype(np.float32)
    expected = tieless_runtime.evaluate(network, images)[network.output]
    assert name != "large sums" or expected.max() > 2**26
    apply = plan.reference.apply
    monkeypatch.setattr(
        plan.reference, "apply", lambda each, *given: None if each.kind in ("conv", "linear") else apply(each, *given)
    )
    assert (tieless_runtime.Model(network, path=path)(images) == expected).all()


@pytest.mark.parametrize("delay", [0, 1])
@pytest.mark.parametrize("at_threshold", [0, 1])
@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("whole", [True, False], ids=["integers", "floats"])
def test_spikes_are_those_of_the_reference_without_its_help(whole, reset, at_threshold, delay, monkeypatch):
    """Of one step that is seen each time, of steps that differ, of one beta and of one for each channel."""
    rng, channels, times = np.random.default_rng(2), 70, 5
    cell = {"reset": reset, "at_threshold": at_threshold, "delay_reset": delay, "times": times}
    one, each = np.float32([0.9]), rng.choice([0, 0.5, 0.875, 0.93], channels).astype(np.float32)
    cell |= {"shift": 15, "threshold": 5.0} if whole else {"shift": 0, "threshold": 0.5}
    one, each = ((2**15 * beta).astype(np.int32) if whole else beta for beta in (one, each))
    made = layers.Builder((channels, 3, 2))
    if whole:
        made.add(Quantise, scale=0.1, low=-20, high=20)
    made.add(Lif, beta=one, **cell)
    made.add(Conv, weight=weight(rng, "binary", (channels, channels, 1, 1)), bias=None, **layers.UNIT)
    if not whole:
        made.add(Affine, factor=np.full(channels, 0.125, np.float32), offset=rng.random(channels, np.float32))
    made.add(Lif, beta=each, **cell)
    made.add(SumTime)
    images = (rng.integers(-8, 12, (9, channels, 3, 2)) / 8 + rng.choice([0, 0.01], (channels, 3, 2))).astype(
        np.float32
    )
    images[0, 0] = 3e38
    with np.errstate(over="ignore"):
        expected = tieless_runtime.evaluate(made.network, images)[made.network.output]
    assert len(np.unique(expected)) > 3
    apply = plan.reference.apply
    monkeypatch.setattr(
        plan.reference, "apply", lambda each, *given: None if each.kind == "lif" else apply(each, *given)
    )
    assert (tieless_runtime.Model(made.network)(images) == expected).all()


def test_groups_that_would_take_much_memory_stay_groups():
    values = np.ones((4096, 1, 3, 3), np.int8)
    sizes = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 4096}
    operation = Conv(name="", inputs=("x",), output="y", weight=Weight("binary", values), bias=None, **sizes)
    assert ungrouped(operation) is operation


@pytest.mark.parametrize("turned", [False, True])
def test_integers_are_scaled_added_and_bent_in_one_pass(turned):
    """As in a residual network; clips, negative sums and factors of both signs among them."""
    rng, made = np.random.default_rng(0), layers.Builder((70, 3, 3))
    made.add(Quantise, scale=1.0, low=-127, high=127)
    skip = made.network.output
    made.add(Conv, weight=weight(rng, "ternary", (70, 70, 1, 1)), bias=None, **layers.UNIT)
    ends = {"shift": 20, "low": -(2**20), "high": 2**20}
    made.add(Rescale, factor=rng.integers(-(2**31) + 1, 2**31, 70).astype(np.int32), **ends)
    made.add(Affine, factor=np.ones(70, np.int32), offset=rng.integers(-999, 999, 70).astype(np.int32))
    before, operations = made.network.output, list(made.network.operations)
    operations.append(Add(name="", inputs=(skip, before) if turned else (before, skip), output="sum"))
    slope = rng.integers(-(2**20), 2**20, 70).astype(np.int32)
    operations.append(Prelu(name="", inputs=("sum",), output="bent", slope=slope, shift=15))
    network = tieless_runtime.Network((70, 3, 3), tuple(operations), "bent")
    images = rng.integers(-127, 128, (5, 70, 3, 3)).astype(np.float32)
    values = tieless_runtime.evaluate(network, images)
    assert (values["sum"] < 0).any()
    assert (np.abs(values[before]) >= 2**20 - 999).any()
    assert (tieless_runtime.Model(network)(images) == values["bent"]).all()
    assert len(plan.Plan(network, "plain").steps) == 3


CHANNELS = 70
RESCALED = (Rescale, {"factor": np.int32([3]), "shift": 1, "low": -400, "high": 500})
AFFINE = (Affine, {"factor": np.arange(-35, 35, dtype=np.int32), "offset": np.arange(70, dtype=np.int32)})
OFFSET = (Affine, {"factor": np.ones(70, np.int32), "offset": np.arange(-40, 30, dtype=np.int32)})
FLOATS = (Affine, {"factor": np.ones(CHANNELS, np.float32), "offset": np.full(CHANNELS, 0.5, np.float32)})
BENT = (Prelu, {"slope": np.arange(70, dtype=np.int32), "shift": 3})
SKIPPED = (Add, {})


@pytest.mark.parametrize(
    ("operations", "passes"),
    [
        ((AFFINE,), 1),
        ((AFFINE, BENT), 1),
        ((AFFINE, SKIPPED, BENT), 1),
        ((AFFINE, OFFSET), 2),
        ((RESCALED, OFFSET, SKIPPED), 1),
        ((BENT, BENT), 2),
        ((BENT, SKIPPED), 2),
        ((RESCALED, AFFINE), 2),
        ((RESCALED, FLOATS), 2),
        ((RESCALED, BENT, RESCALED), 2),
    ],
)
def test_integers_are_one_pass_only_where_the_order_is_that_of_the_pass(operations, passes):
    made = layers.Builder((CHANNELS, 3, 3))
    made.add(Quantise, scale=1.0, low=-127, high=127)
    for cls, given_ in operations:
        before = made.operations[-1].output
        made.add(cls, *((before, "v0") if cls is Add else ()), **given_)
    images = np.random.default_rng(0).integers(-127, 128, (5, CHANNELS, 3, 3)).astype(np.float32)
    expected = tieless_runtime.evaluate(made.network, images)[made.network.output]
    assert (tieless_runtime.Model(made.network)(images) == expected).all()
    assert len(plan.Plan(made.network, "plain").steps) == 1 + passes


@pytest.mark.parametrize("turned", [False, True])
def test_an_integer_and_a_code_are_added(turned):
    steps = {"thresholds": np.zeros((1, 64), np.int32), "direction": np.ones(64, np.int8), "low": -1, "step": 2}
    network = tieless_runtime.Network(
        (64, 3, 3),
        (
            Quantise(name="", inputs=("input",), output="q", scale=1.0, low=-9, high=9),
            Threshold(name="", inputs=("q",), output="t", **steps),
            Add(name="", inputs=("t", "q") if turned else ("q", "t"), output="sum"),
        ),
        "sum",
    )
    images = np.random.default_rng(0).integers(-9, 10, (5, 64, 3, 3)).astype(np.float32)
    expected = images + np.where(images >= 0, 1, -1)
    assert (tieless_runtime.Model(network)(images) == expected).all()
