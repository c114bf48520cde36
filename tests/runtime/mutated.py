"""Files of packed networks, changed at random, and what becomes of each."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tieless_runtime
from numpy.random import Generator
from safetensors.numpy import load, save
from tieless_runtime.file import KEY
from tieless_runtime.operations import (
    Add,
    Concat,
    Conv,
    Flatten,
    Lif,
    Linear,
    Prelu,
    Quantise,
    Rescale,
    SumTime,
    Threshold,
)

from tests.runtime.networks import small_network, weight
from tieless.deploy import to_c, to_onnx
from tieless.errors import DeployError

MOST_RUN = 2**16
"""Number of elements of a sample's values up to which a network is run."""

MEMORY = 64
"""Bytes that reading may take for each byte of a file."""

HOSTILE = (
    *(None, True, -1, 0, 1, 2, 7, 255, 2**26, 2**31 - 1, -(2**31), 2**31, 2**53, 10**400, 0.5, -1e-300, 1e300),
    *("", "input", "scores", "x" * 2000, "\ud800", [], [1], [0, 0], [2**30, 2**30], [[]], {}, {"kind": "linear"}),
)


def spiking_network(rng: Generator) -> tieless_runtime.Network:
    """Network of integers with groups, branches, fractions, codes of two bits and time steps."""
    kept = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 2}
    vector = {"direction": np.ones(4, np.int8), "low": 0, "step": 1}
    operations = (
        Quantise(name="in", inputs=("input",), output="q", scale=0.5, low=-8, high=7),
        Conv(name="0", inputs=("q",), output="a", weight=weight(rng, "binary", (4, 1, 2, 2)), bias=None, **kept),
        Threshold(name="1", inputs=("a",), output="b", thresholds=np.sort(rng.integers(-9, 9, (3, 4)), 0).astype(np.int32), **vector),
        Prelu(name="2", inputs=("a",), output="c", slope=np.full(4, 2**13, np.int32), shift=15),
        Rescale(name="3", inputs=("c",), output="d", factor=np.full(1, 3, np.int32), shift=1, low=-100, high=100),
        Add(name="4", inputs=("d", "a"), output="e"),
        Concat(name="5", inputs=("e", "e"), output="f"),
        Lif(name="6", inputs=("f",), output="g", beta=np.full(1, 2**14, np.int32), shift=15, threshold=3.0, at_threshold=0, reset="subtract", delay_reset=0, times=3),
        Flatten(name="7", inputs=("g",), output="h"),
        Linear(name="8", inputs=("h",), output="i", weight=weight(rng, "integer", (3, 32), 3), bias=np.arange(3, dtype=np.int32)),
        SumTime(name="9", inputs=("i",), output="scores"),
    )  # fmt: skip
    return tieless_runtime.Network((2, 3, 3), operations, "scores")


def originals(folder: Path) -> list[bytes]:
    """Files of networks that together have most kinds of operations."""
    rng, path = np.random.default_rng(0), folder / "original.safetensors"
    found: list[bytes] = []
    for network in (small_network(rng), small_network(rng, low=0, step=1), spiking_network(rng)):
        tieless_runtime.write(network, path)
        found.append(path.read_bytes())
    return found


def mutated(rng: Generator, originals: list[bytes]) -> bytes:
    """File that was changed at random: its bytes, its length, its description or its tensors."""
    content = originals[rng.integers(len(originals))]
    kind = rng.integers(6)
    if kind == 0:
        changed = bytearray(content)
        for place in rng.integers(0, len(content), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        return bytes(changed)
    if kind == 1:
        return content[: rng.integers(len(content))] + bytes(rng.integers(0, 256, rng.integers(0, 9)).astype(np.uint8))
    if kind == 2:
        other, at = originals[rng.integers(len(originals))], rng.integers(len(content))
        return content[:at] + other[at:]
    tensors = load(content)
    description = json.loads(json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"][KEY])
    for _ in range(rng.integers(1, 4)):
        if kind == 5:
            _change_tensor(rng, tensors)
        else:
            _change_description(rng, description)
    return save(tensors, {KEY: json.dumps(description)})


def _places(thing: Any) -> Iterator[tuple[Any, Any]]:
    """Containers of a description, each with the key of one of its parts."""
    for key, part in list(thing.items() if isinstance(thing, dict) else enumerate(thing)):
        yield thing, key
        if isinstance(part, (dict, list)):
            yield from _places(part)


def _change_description(rng: Generator, description: dict[str, Any]) -> None:
    places = list(_places(description))
    (container, key), (source, other) = (places[i] for i in rng.integers(0, len(places), 2))
    change = rng.integers(5)
    if change == 0:
        container.pop(key)
    elif change == 1:
        container[key] = copy.deepcopy(source[other])
    elif change == 2 and isinstance(container[key], int):
        container[key] += int(rng.integers(-2, 3))
    else:
        container[key] = copy.deepcopy(HOSTILE[rng.integers(len(HOSTILE))])


def _change_tensor(rng: Generator, tensors: dict[str, Any]) -> None:
    names = sorted(tensors)
    name, other = (names[i] for i in rng.integers(0, len(names), 2))
    array, change = tensors[name].copy(), rng.integers(5)
    if change == 0:
        with np.errstate(all="ignore"):
            tensors[name] = array.astype([np.int64, np.float64, np.uint8, np.float16][rng.integers(4)])
    elif change == 1:
        tensors[name] = array[..., : rng.integers(array.shape[-1] + 1)].copy()
    elif change == 2:
        tensors[name] = tensors[other]
    elif change == 3 and array.size:
        extreme = (
            [np.nan, np.inf, 3e38]
            if array.dtype.kind == "f"
            else [np.iinfo(array.dtype).min, np.iinfo(array.dtype).max, 0]
        )
        with np.errstate(all="ignore"):
            array.flat[rng.integers(array.size)] = extreme[rng.integers(3)]
        tensors[name] = array
    else:
        tensors[name] = np.frombuffer(rng.bytes(array.nbytes), array.dtype).reshape(array.shape)


def outcome(path: Path) -> str:
    """End to which a file comes, in a few words.

    Raises:
        AssertionError: Reading took more memory than the format promises, or the kernels' scores are not the reference's.
    """
    tracemalloc.start()
    try:
        network = tieless_runtime.read(path)
    except tieless_runtime.PackedFileError:
        return "refused"
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak <= MEMORY * max(path.stat().st_size, 1024), f"{peak} bytes to read {path.stat().st_size}"
    if sum(value.size * max(1, value.times) for value in network.values.values()) > MOST_RUN:
        return "read, too large to run here"
    sample = np.ones((2, *network.shape), np.float32)
    with np.errstate(all="ignore"):
        expected, scores = (
            tieless_runtime.evaluate(network, sample)[network.output],
            tieless_runtime.Model(network)(sample),
        )
    assert scores.dtype == np.float32 or (scores == expected).all(), "the kernels' scores are not the reference's"
    return f"read and run, {_exported(network)}"


def _exported(network: tieless_runtime.Network) -> str:
    done = [
        name
        for name, export in (("C", lambda: to_c(network, "net")), ("ONNX", lambda: to_onnx(network)))
        if _works(export)
    ]
    return f"exported to {' and '.join(done) or 'neither'}"


def _works(export: Callable[[], object]) -> bool:
    """False if it refuses a network, in one line."""
    try:
        export()
    except DeployError as error:
        if "\n" in str(error):
            raise
        return False
    return True
