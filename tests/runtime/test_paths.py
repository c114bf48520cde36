"""Every path of the kernels against the reference: integers are equal, whatever the layer, its shape and its input."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tieless_runtime
from hypothesis import given, settings, strategies as st
from tieless_runtime.paths import PATHS, runnable

from tests.runtime import layers
from tests.runtime.networks import small_network

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
def test_threads_and_parts_change_nothing(path, monkeypatch):
    network = small_network(np.random.default_rng(3))
    images = np.random.default_rng(4).random((37, 1, 8, 8))
    expected = tieless_runtime.Model(network, path=path)(images)
    monkeypatch.setattr("tieless_runtime.model.PART_BYTES", 3000)
    for threads in (1, 2, 3):
        assert (tieless_runtime.Model(network, path=path, threads=threads)(images) == expected).all()
    assert tieless_runtime.Model(network)(images[:0]).shape == (0, 10)


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
