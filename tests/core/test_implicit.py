"""Default devices and modes around a call decide nothing that they do not decide for PyTorch's own functions."""

import pytest

from tests.alone import run_alone

_SETTING = """
import warnings
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

def trains(forward, rule):
    z = torch.randn(100, device="cpu", requires_grad=True)
    tl.untie(z, forward, rule).backward(torch.ones(100, device="cpu"))
    return z.grad is not None and z.grad.device.type == "cpu" and bool(z.grad.isfinite().all())
"""
_PAIRS = [
    ("heaviside", "rectangular"),
    ("gelu", "few_bit(2)"),
    ("relu", "positive_jam"),
    ("silu", "gated >> noise(0.1)"),
    ("bernoulli", "atan"),
    ("quantize(0.5)", "stochastic_spike >> rotate(30)"),
]
_ASKED = f"assert all(trains(*pair) for pair in {_PAIRS})"


@pytest.mark.parametrize("kernels", ["reference", "numba"])
def test_tensors_on_the_cpu_train_under_another_default_device(kernels):
    """In a process of its own: what was wrong here wrote to addresses that are not ours."""
    program = f"""{_SETTING}
import tieless as tl

with torch.device("meta"):
    {_ASKED}
torch.set_default_device("meta")
{_ASKED}"""
    run_alone(program, environment={"TIELESS_KERNELS": kernels})


@pytest.mark.parametrize("mode", ["torch.inference_mode()", "FakeTensorMode()"])
def test_a_first_call_in_a_mode_leaves_nothing_of_it_behind(mode):
    """In a process of its own: what is made once is made at the import, at a first pair and at a thread's first draw."""
    run_alone(f"""{_SETTING}
import threading

def first():
    with {mode}:
        for forward, rule in {_PAIRS}:
            tl.untie(torch.ones(3, device="cpu"), forward, rule)

def work():
    first()
    {_ASKED}
    done.append(True)

with {mode}:
    import tieless as tl
first()
{_ASKED}
done = []
thread = threading.Thread(target=work)
thread.start()
thread.join()
assert done""")
