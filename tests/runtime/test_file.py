"""Files of packed networks: what is written is read, and nothing else is."""

import json
import re
import struct
from collections import Counter

import numpy as np
import pytest
import tieless_runtime
import torch
from safetensors import safe_open
from safetensors.numpy import load, save
from tieless_runtime.file import KEY
from tieless_runtime.operations import Concat

from tests.runtime.mutated import mutated, originals, outcome
from tests.runtime.networks import small_network, weight


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "net.safetensors"
    tieless_runtime.write(small_network(np.random.default_rng(0)), path)
    return path


def description_of(path):
    with safe_open(str(path), framework="numpy") as file:
        return json.loads(file.metadata()[KEY])


def rewrite(path, change):
    """Change the description, or the tensors, of a file."""
    description, tensors = description_of(path), load(path.read_bytes())
    change(description, tensors)
    path.write_bytes(save(tensors, {KEY: json.dumps(description)}))


def test_a_network_that_is_read_computes_what_it_did(path):
    before = small_network(np.random.default_rng(0))
    after = tieless_runtime.read(path)
    images = np.random.default_rng(1).random((5, 1, 8, 8)).astype(np.float32)
    values, again = (tieless_runtime.evaluate(network, images) for network in (before, after))
    assert {name: value.dtype for name, value in values.items()} == {name: value.dtype for name, value in again.items()}
    assert all((values[name] == again[name]).all() for name in values)
    assert after.kept_float == before.kept_float
    assert after.values == before.values


@pytest.mark.parametrize("bits", range(2, 9))
def test_weights_of_a_few_bits_are_stored_as_planes(bits):
    drawn = weight(np.random.default_rng(bits), "integer", (3, 5), bits)
    stored = drawn.stored()
    assert stored.shape == (bits, 2)
    found = tieless_runtime.weights.from_stored("integer", (3, 5), bits, stored)
    assert (found.values == drawn.values).all()


def test_the_first_weight_is_in_the_lowest_bit():
    weight = tieless_runtime.weights.Weight("binary", np.array([[1, -1, -1], [1, -1, -1]], np.int8))
    assert weight.stored().tolist() == [[0b001001]]


CHANGES = {
    "version": (lambda d, t: d.update(version=2), "its version is 2, this runtime reads version 1"),
    "format": (lambda d, t: d.update(format="onnx"), "its format is not 'tieless-packed'"),
    "field": (lambda d, t: d.pop("output"), "has not the fields"),
    "more": (lambda d, t: d.update(code="print()"), "has not the fields"),
    "operation": (lambda d, t: d["operations"][0].update(kind="exec"), "there is no operation exec"),
    "scale": (lambda d, t: d["operations"][0].update(scale=float("nan")), "must be a number"),
    "range": (lambda d, t: d["operations"][0].update(high=2**40), "an integer of 32 bits"),
    "bool": (lambda d, t: d["operations"][0].update(high=True), "an integer of 32 bits"),
    "order": (lambda d, t: d["operations"].reverse(), "there is no value"),
    "twice": (lambda d, t: d["operations"].append(d["operations"][-1]), "there is a value 'scores' already"),
    "huge": (lambda d, t: d.update(shape=[1, 2**30, 2**30]), "too large"),
    "padding": (lambda d, t: d["operations"][1].update(padding=[9, 9]), "padding must be 0 to 2"),
    "groups": (lambda d, t: d["operations"][1].update(groups=0), "groups must be 1"),
    "stride": (
        lambda d, t: d["operations"][1].update(stride=[0, 1]),
        "operation conv of 0: its stride must be 1 to 65536, got 0, 1. It has to be packed, or copied, again.",
    ),
    "shape": (lambda d, t: d["operations"][1]["weight"].update(shape=[6, 1, 3, 300]), "must be uint8 of shape"),
    "overflow": (lambda d, t: d["operations"][2].update(step=2**30), "do not fit in 32 bits"),
    "unused": (lambda d, t: t.update(more=np.zeros(3)), "tensors that no operation takes"),
    "missing": (lambda d, t: t.pop("b.thresholds"), "a tensor that the file does not have"),
    "dtype": (lambda d, t: t.update({"b.thresholds": t["b.thresholds"].astype(np.int64)}), "thresholds must be int32"),
    "direction": (lambda d, t: t["b.direction"].__setitem__(0, 0), "direction must be 1 or -1"),
    "infinite": (lambda d, t: t["scores.factor"].__setitem__(0, np.inf), "factor must be finite"),
    "ternary": (lambda d, t: t["f.weight"].fill(255), "cannot be 1 and -1"),
    "list": (lambda d, t: d.update(operations={}), "must be a list"),
    "deep": (lambda d, t: d.update(shape=[[1]]), "an integer of 32 bits"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_contradicts_itself_is_refused_in_one_line(path, name):
    change, message = CHANGES[name]
    rewrite(path, change)
    with pytest.raises(tieless_runtime.PackedFileError) as error:
        tieless_runtime.Model.load(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path} is no packed network that can be run: ")


def test_what_no_reader_would_take_is_not_written(tmp_path):
    joined = Concat(name="", inputs=("input",) * 65, output="joined")
    with pytest.raises(tieless_runtime.PackedFileError, match=r"concat\.inputs must be a list of at most 64"):
        tieless_runtime.write(tieless_runtime.Network((2,), (joined,), "joined"), tmp_path / "net.safetensors")
    assert not list(tmp_path.iterdir())


def test_bits_behind_the_last_weight_are_refused(path):
    def change(description, tensors):
        tensors["a.weight"][0, -1] |= 0x80

    rewrite(path, change)
    with pytest.raises(tieless_runtime.PackedFileError, match="bits behind the last weight"):
        tieless_runtime.read(path)


def test_no_prefix_of_a_file_is_a_file(path):
    content = path.read_bytes()
    for length in {0, 3, 8, 9, *range(0, len(content), 97), len(content) - 1}:
        path.write_bytes(content[:length])
        with pytest.raises(tieless_runtime.PackedFileError):
            tieless_runtime.read(path)


@pytest.mark.parametrize(
    "content",
    [
        struct.pack("<Q", 2**63) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 60_000) + b"[" * 60_000,
        struct.pack("<Q", 28) + b'{"__metadata__":{"tieless":1}',
        b"\x80\x04pickle" * 10,
    ],
    ids=["length", "empty", "nested", "number", "pickle"],
)
def test_what_is_no_packed_network_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(tieless_runtime.PackedFileError):
        tieless_runtime.read(path)


def test_a_missing_file_is_an_error_of_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        tieless_runtime.Model.load(tmp_path / "none")


def test_a_changed_file_is_refused_or_run(tmp_path):
    """Never another error than ours, whatever changes; ``python -m tests.runtime`` asks 100,000."""
    path, rng, found = tmp_path / "net.safetensors", np.random.default_rng(0), Counter()
    first = originals(tmp_path)
    for _ in range(400):
        path.write_bytes(mutated(rng, first))
        found[outcome(path)] += 1
    assert found["refused"] > 100
    assert found["read and run, exported to C and ONNX"] > 5


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 8, 8)), np.zeros((1, 1, 8, 9)), np.array("text"), np.zeros((1, 8, 8), complex), [[1, 2], [3]]],
)
def test_samples_of_another_shape_or_kind_are_refused(path, images):
    with pytest.raises(tieless_runtime.PackedInputError, match="The samples must"):
        tieless_runtime.Model.load(path)(images)


@pytest.mark.parametrize(
    "images", [torch.zeros(1, 1, 8, 8, requires_grad=True), torch.zeros(1, 1, 8, 8, dtype=torch.bfloat16)]
)
def test_arrays_of_another_library_that_numpy_cannot_read_are_refused(path, images):
    with pytest.raises(tieless_runtime.PackedInputError, match="The samples must be one array of numbers: "):
        tieless_runtime.Model.load(path)(images)


def test_the_reference_refuses_samples_of_another_shape_or_kind(path):
    network = tieless_runtime.read(path)
    for images in (np.zeros((1, 8, 8)), np.zeros((2, 1, 8, 9)), "text", np.zeros((1, 1, 8, 8), complex)):
        with pytest.raises(tieless_runtime.PackedInputError, match=r"numbers of shape \('n', 1, 8, 8\), got "):
            tieless_runtime.evaluate(network, images)
    assert (tieless_runtime.evaluate(network, np.zeros((1, 1, 8, 8)).tolist())["input"] == 0).all()


def test_a_model_is_made_of_a_network(path):
    for wrong in (None, path, "net.safetensors"):
        with pytest.raises(tieless_runtime.PackedInputError, match=r"is made of a Network.*Model\.load takes the path"):
            tieless_runtime.Model(wrong)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("batched", [True, False], ids=["batch", "sample"])
def test_samples_that_are_not_finite_in_float32_are_refused_with_their_place(path, number, batched):
    images = np.zeros((3, 1, 8, 8))
    model = tieless_runtime.Model.load(path)
    images[1, 0, 2, 7] = -3e38
    model(images)
    images[2, 0, 5, 6] = number
    said = f"finite numbers that float32 holds, got {number} in sample {2 * batched} at [0, 5, 6]"
    with pytest.raises(tieless_runtime.PackedInputError, match=re.escape(said)):
        model(images if batched else images[2])


def test_one_sample_has_no_batch(path):
    model = tieless_runtime.Model.load(path)
    images = np.random.default_rng(0).random((3, 1, 8, 8))
    assert (model(images[1]) == model(images)[1]).all()


SAME = {
    "every second": lambda images: np.repeat(images, 2, axis=-1)[..., ::2],
    "backwards": lambda images: images[::-1].copy()[::-1],
    "columns first": np.asfortranarray,
    "big-endian": lambda images: images.astype(">f4"),
    "doubles": lambda images: images.astype(np.float64),
    "halves": lambda images: images.astype(np.float16),
    "bytes": lambda images: images.astype(np.uint8),
    "integers": lambda images: images.astype(np.int64),
    "lists": lambda images: images.tolist(),
}


@pytest.mark.parametrize("form", SAME)
def test_samples_in_any_layout_and_dtype_have_the_same_scores(path, form):
    images = np.random.default_rng(0).integers(0, 2, (5, 1, 8, 8)).astype(np.float32)
    model = tieless_runtime.Model.load(path)
    expected = model(images)
    assert len(np.unique(expected, axis=0)) > 1
    assert (model(SAME[form](images)) == expected).all()
    assert (model(SAME[form](images)[2]) == expected[2]).all()
