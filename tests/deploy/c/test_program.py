"""C programs of packed networks against the reference of the runtime, number for number, through a compiler."""

import platform
import re
import runpy
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from tieless_runtime import Network, evaluate
from tieless_runtime.operations import Add, Conv, Flatten, Linear, Quantise, Relu, SumPool, Threshold
from tieless_runtime.weights import Weight

from tieless.deploy import Packed, to_onnx
from tieless.deploy.c import name_in_c, to_c
from tieless.deploy.c.memory import Buffer, least, placed
from tieless.errors import DeployError

DRAWN = runpy.run_path(str(Path(__file__).parents[1] / "drawn.py"))
EMBEDDED = runpy.run_path(str(Path(__file__).parents[3] / "tools" / "embedded" / "run.py"))
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g1")
SAMPLES = 6

pytestmark = pytest.mark.skipif(not COMPILERS, reason="no C compiler: the C programs were not run")


def integers_of(network):
    return next(operation for operation in network.operations if operation.kind == "quantise")


def samples(network, rng, count):
    """Bytes, and the samples for which they stand."""
    quantise = integers_of(network)
    bytes_ = rng.integers(0, quantise.high - quantise.low + 1, (count, *network.shape)).astype(np.uint8)
    return bytes_, (bytes_.astype(np.float32) + quantise.low) * np.float32(quantise.scale)


def run(programs, inputs, folder, *flags, compiler=None):
    """Scores of each program for its input, compiled together and run in a process of their own."""
    main = ["#include <stdio.h>", "#include <stdlib.h>"]
    calls = []
    for program, given_ in zip(programs, inputs, strict=True):
        program.save(folder)
        main.append(f'#include "{program.name}.c"')
        size, upper = given_[0].size, program.name.upper()
        calls.append(
            f"    for (int i = 0; i < {len(given_)}; i++) {{\n"
            f"        uint8_t *in = malloc({size});\n        int32_t *out = malloc(4 * {upper}_SCORES);\n"
            f"        uint32_t *scratch = malloc(4 * {upper}_SCRATCH);\n"
            f"        if (fread(in, 1, {size}, stdin) != {size}) return 1;\n"
            f"        for (int j = 0; j < {upper}_SCRATCH; j++) scratch[j] = 0xa5a5a5a5u;\n"
            f"        {program.name}_run_with(scratch, in, out);\n"
            f"        fwrite(out, 4, {upper}_SCORES, stdout);\n        {program.name}_run(in, out);\n"
            f"        fwrite(out, 4, {upper}_SCORES, stdout);\n        free(in); free(out); free(scratch);\n    }}"
        )
    (folder / "main.c").write_text("\n".join([*main, "int main(void)\n{", *calls, "    return 0;\n}\n"]))
    binary = folder / "main"
    subprocess.run(
        [compiler or COMPILERS[0], *STRICT, "-Wno-unused-function", *flags, "-o", binary, folder / "main.c"],
        check=True,
        timeout=300,
    )
    data = b"".join(np.ascontiguousarray(given_).tobytes() for given_ in inputs)
    found = subprocess.run([binary], input=data, capture_output=True, timeout=300, check=False)
    assert found.returncode == 0, found.stderr.decode()[-3000:]
    scores, at = np.frombuffer(found.stdout, np.int32), 0
    results = []
    for program, given_ in zip(programs, inputs, strict=True):
        count = 2 * len(given_) * int(program.header.partition("_SCORES ")[2].split()[0])
        results.append(scores[at : at + count].reshape(len(given_), 2, -1))
        at += count
    assert at == len(scores)
    return results


DRAWN_NETWORKS = st.lists(st.one_of(DRAWN["networks"](), DRAWN["convolutions"]()), min_size=15, max_size=25)


@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(networks=DRAWN_NETWORKS, seed=st.integers(0, 2**32))
def test_scores_are_those_of_the_reference(networks, seed, tmp_path_factory):
    folder, rng = tmp_path_factory.mktemp("c"), np.random.default_rng(seed)
    given_ = [samples(network, rng, SAMPLES) for network in networks]
    programs = [to_c(network, f"net{index}") for index, network in enumerate(networks)]
    found = run(programs, [bytes_ for bytes_, _ in given_], folder, "-O1", *SANITIZED)
    for network, (_, images), scores in zip(networks, given_, found, strict=True):
        expected = evaluate(network, images)[network.output].reshape(SAMPLES, 1, -1)
        assert (scores == expected).all(), network.operations


def chain(shape, *operations, **settings):
    """Network of operations that follow each other."""
    made = []
    for index, (cls, given_) in enumerate(operations):
        made.append(cls(name="", inputs=(f"v{index - 1}" if index else "input",), output=f"v{index}", **given_))
    return Network(shape, tuple(made), f"v{len(made) - 1}", **settings)


BYTES = (Quantise, {"scale": 1 / 255, "low": 0, "high": 255})
SIGNS = {"direction": np.ones(8, np.int8), "low": -1, "step": 2}
SLIDES = {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1), "groups": 1}


def weight(rng, *shape):
    return Weight("binary", (2 * rng.integers(0, 2, shape) - 1).astype(np.int8))


def convolutional(rng):
    """Residual network of signs, as large images have it."""
    conv = (Conv, {"weight": weight(rng, 8, 8, 3, 3), "bias": None, **SLIDES})
    signs = (Threshold, {"thresholds": rng.integers(-9, 9, (1, 8)).astype(np.int32), **SIGNS})
    stem = (Conv, {"weight": weight(rng, 8, 1, 3, 3), "bias": None, **SLIDES})
    return chain((1, 12, 12), BYTES, stem, signs, conv, signs, conv, (Flatten, {}))


def dense(rng):
    """Perceptron of signs, whose rows are whole words."""
    signs = {"thresholds": rng.integers(-99, 99, (1, 512)).astype(np.int32), "direction": np.ones(512, np.int8)}
    layers = [(Linear, {"weight": weight(rng, *shape), "bias": None}) for shape in ((512, 40), (7, 512))]
    return chain((40,), BYTES, layers[0], (Threshold, {**signs, "low": -1, "step": 2}), layers[1])


@pytest.mark.parametrize("made", [convolutional, dense])
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("flags", [("-O3", "-mpopcnt"), ("-O2",)], ids=["popcount", "plain"])
def test_every_compiler_takes_it_without_a_warning(made, compiler, flags, tmp_path):
    rng = np.random.default_rng(0)
    network = made(rng)
    bytes_, images = samples(network, rng, 20)
    flags = [flag for flag in flags if flag != "-mpopcnt" or platform.machine() == "x86_64"]
    (found,) = run([to_c(network, "net")], [bytes_], tmp_path, *flags, compiler=compiler)
    assert (found == evaluate(network, images)[network.output][:, None]).all()


def test_a_byte_stands_for_what_the_caller_says(tmp_path):
    rng = np.random.default_rng(1)
    head = (Linear, {"weight": weight(rng, 3, 50), "bias": None})
    quantise = (Quantise, {"scale": 0.02, "low": -127, "high": 127})
    network = chain((50,), quantise, head)
    bytes_ = rng.integers(0, 256, (5, 50)).astype(np.uint8)
    images = (bytes_ / 255 * 2 - 1).astype(np.float32)
    (found,) = run([to_c(network, "net", pixel=(2 / 255, -1))], [bytes_], tmp_path)
    assert (found == evaluate(network, images)["v1"][:, None]).all()


def test_the_class_is_the_first_of_the_largest_scores(tmp_path):
    rows = np.int8([[1, -1], [1, 1], [1, 1], [-1, 1]])
    network = chain((2,), BYTES, (Linear, {"weight": Weight("binary", rows), "bias": None}))
    program = to_c(network, "net")
    program.save(tmp_path)
    (tmp_path / "main.c").write_text(
        '#include "net.c"\n#include <stdio.h>\nint main(void) { const uint8_t a[2] = {9, 1}, b[2] = {0, 0}, c[2] = {1, 9};\n'
        'printf("%d %d %d", (int)net_classify(a), (int)net_classify(b), (int)net_classify(c)); return 0; }\n'
    )
    subprocess.run([COMPILERS[0], *STRICT, "-o", tmp_path / "main", tmp_path / "main.c"], check=True)
    assert subprocess.run([tmp_path / "main"], capture_output=True, check=True, text=True).stdout == "1 0 1"


def test_nothing_in_a_file_becomes_code(tmp_path):
    """Names are the only text that a file brings into the program."""
    hostile = '*/ int main(void) { return system("id"); } /* ??/\n#include <x> \\'
    network = chain((2,), BYTES, (Linear, {"weight": Weight("binary", np.int8([[1, -1]])), "bias": None}))
    renamed = [replace(operation, name=hostile) for operation in network.operations]
    program = to_c(Network((2,), tuple(renamed), "v1"), name_in_c(hostile))
    code = re.sub(r"/\*.*?\*/", "", program.source, flags=re.DOTALL)
    assert "main" not in code.replace(program.name, "")
    assert "??/" not in program.source + program.header
    assert re.fullmatch(r"\w+", program.name)
    program.save(tmp_path)
    subprocess.run([COMPILERS[0], *STRICT, "-c", "-o", tmp_path / "o", tmp_path / f"{program.name}.c"], check=True)


@pytest.mark.parametrize("name", ["", "1net", "a b", "x" * 50, "a;b", "stdint", "n\n"])
def test_a_name_that_is_none_in_c_is_refused(name):
    network = chain((2,), BYTES, (Linear, {"weight": Weight("binary", np.int8([[1, -1]])), "bias": None}))
    with pytest.raises(DeployError, match="letters, digits and underscores"):
        to_c(network, name)


def test_arguments_of_another_kind_are_refused():
    network = chain((2,), BYTES, (Linear, {"weight": Weight("binary", np.int8([[1, -1]])), "bias": None}))
    for wrong in (None, "net.safetensors", Packed(network)):
        with pytest.raises(DeployError, match=r"to_c takes a tieless_runtime.Network.*packed\.network is; got \w+\.$"):
            to_c(wrong, "net")
        with pytest.raises(DeployError, match=r"to_onnx takes a tieless_runtime.Network"):
            to_onnx(wrong)
    with pytest.raises(DeployError, match=r"begins with a letter, got None\."):
        to_c(network, None)
    for pixel in (1, "ab", (1, 2, 3), (1,), (None, 0), (0, 1), (float("nan"), 0), (1, float("inf"))):
        with pytest.raises(DeployError, match=r"A byte stands for byte \* FACTOR \+ OFFSET"):
            to_c(network, "net", pixel=pixel)


@pytest.mark.parametrize("text", ["", "9", "-", "a.b c", "ä" * 90, "stdint", "int"])
def test_any_text_gives_a_name(text):
    network = chain((2,), BYTES, (Linear, {"weight": Weight("binary", np.int8([[1, -1]])), "bias": None}))
    assert to_c(network, name_in_c(text)).name


def test_floats_are_refused_by_the_layer_that_has_them():
    floats = Weight("float", np.ones((1, 2), np.float32))
    network = chain((2,), (Linear, {"weight": floats, "bias": None}), kept_float=(("", "its weights are float"),))
    with pytest.raises(DeployError, match=r"v0 \(linear\) computes in float32, because its weights are float"):
        to_c(network, "net")
    with pytest.raises(DeployError, match="no byte holds"):
        to_c(chain((2,), (Quantise, {"scale": 1.0, "low": -999, "high": 999}), (Relu, {})), "net")


@pytest.mark.parametrize("channels", [3, 8, 11])
def test_a_linear_layer_finds_each_place_of_a_flattened_value(channels, tmp_path):
    """Of bits and of bytes, which lie place by place, while PyTorch's order is channel by channel."""
    rng = np.random.default_rng(channels)
    stem = (Conv, {"weight": weight(rng, channels, 1, 3, 3), "bias": None, **SLIDES})
    steps = {"direction": np.ones(channels, np.int8), "low": -1, "step": 2}
    head = (Linear, {"weight": weight(rng, 5, channels * 20), "bias": None})
    networks = [
        chain((1, 4, 5), BYTES, stem, (Threshold, {"thresholds": levels, **steps}), (Flatten, {}), head)
        for levels in (rng.integers(-99, 99, (codes, channels)).astype(np.int32) for codes in (1, 2))
    ]
    given_ = [samples(network, rng, SAMPLES) for network in networks]
    programs = [to_c(network, f"net{index}") for index, network in enumerate(networks)]
    for network, (_, images), found in zip(
        networks, given_, run(programs, [b for b, _ in given_], tmp_path), strict=True
    ):
        assert (found == evaluate(network, images)[network.output][:, None]).all()


def test_a_value_that_is_taken_again_is_not_written_over(tmp_path):
    """Four sums with the first value: it lives until the last one, and each sum until the next."""
    rng = np.random.default_rng(0)
    made = [
        Quantise(name="", inputs=("input",), output="q", scale=1.0, low=0, high=255),
        Conv(name="", inputs=("q",), output="first", weight=weight(rng, 8, 1, 3, 3), bias=None, **SLIDES),
    ]
    for i in range(4):
        before = f"sum{i - 1}" if i else "first"
        levels = rng.integers(-99, 99, (1, 8)).astype(np.int32)
        made += [
            Threshold(name="", inputs=(before,), output=f"bits{i}", thresholds=levels, **SIGNS),
            Conv(name="", inputs=(f"bits{i}",), output=f"c{i}", weight=weight(rng, 8, 8, 3, 3), bias=None, **SLIDES),
            Add(name="", inputs=(f"c{i}", "first"), output=f"other{i}"),
            Add(name="", inputs=(f"other{i}", before), output=f"sum{i}"),
        ]
    network = Network((1, 6, 6), tuple(made), "sum3")
    bytes_, images = samples(network, rng, SAMPLES)
    (found,) = run([to_c(network, "net")], [bytes_], tmp_path)
    assert (found == evaluate(network, images)["sum3"].reshape(SAMPLES, 1, -1)).all()


def test_memory_is_reused_between_layers():
    """Of six buffers of 144 places, two live at once: bits of 8 channels in, bits or bytes of them out, and a window."""
    program = to_c(convolutional(np.random.default_rng(0)), "net")
    window = 4 * (2 * 3 + 1)
    assert program.scratch <= 144 + 144 * 8 + window


def test_a_sum_takes_the_place_of_what_it_adds_to():
    """One buffer for all sums of a residual network, bits for the input of a convolution, and a window."""
    rng = np.random.default_rng(0)
    made = [
        Quantise(name="", inputs=("input",), output="q", scale=1.0, low=0, high=255),
        Conv(name="", inputs=("q",), output="sum0", weight=weight(rng, 8, 1, 3, 3), bias=None, **SLIDES),
    ]
    for i in range(3):
        settings_ = {"thresholds": np.zeros((1, 8), np.int32), **SIGNS}
        made += [
            Threshold(name="", inputs=(f"sum{i}",), output=f"bits{i}", **settings_),
            Conv(name="", inputs=(f"bits{i}",), output=f"c{i}", weight=weight(rng, 8, 8, 3, 3), bias=None, **SLIDES),
            Add(name="", inputs=(f"c{i}", f"sum{i}"), output=f"sum{i + 1}"),
        ]
    made.append(SumPool(name="", inputs=("sum3",), output="scores", kernel=(12, 12), stride=(1, 1)))
    sums, bits, window = 2 * 8 * 144, 144, 4 * (2 * 3 + 1)
    assert to_c(Network((1, 12, 12), tuple(made), "scores"), "net").scratch == sums + bits + window


@pytest.mark.parametrize("made", [convolutional, dense])
@pytest.mark.parametrize("target", EMBEDDED["EMULATED"], ids=lambda target: target.name)
def test_emulated_machines_find_the_same_scores(target, made):
    """All that `make embedded` does, for small networks."""
    if target.missing:
        pytest.skip(f"{target.name} was not asked: no {', no '.join(target.missing)} (make embedded installs them)")
    rng = np.random.default_rng(0)
    network = made(rng)
    bytes_, images = samples(network, rng, 5)
    expected = evaluate(network, images)[network.output].astype(np.int32)
    name, _, equal, _, _, _, count = EMBEDDED["row"](target, to_c(network, "net"), bytes_, expected)
    assert (name, equal) == ("net", "5 of 5")
    assert int(count.replace(",", "")) > 512 * 20
    assert EMBEDDED["row"](target, to_c(network, "net"), bytes_, expected + 1)[2] == "0 of 5"


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 7), st.integers(0, 3)), min_size=1, max_size=8))
def test_buffers_that_live_at_once_do_not_overlap(drawn):
    buffers = [Buffer(str(i), 4 * size, first, first + more) for i, (size, first, more) in enumerate(drawn)]
    offsets, size = placed(buffers)
    used = {
        (stage, byte)
        for b in buffers
        for stage in range(b.first, b.last + 1)
        for byte in range(offsets[b.name], offsets[b.name] + b.size)
    }
    assert len(used) == sum(b.size * (b.last - b.first + 1) for b in buffers)
    assert least(buffers) <= size == max(offsets[b.name] + b.size for b in buffers)
