"""Guarantee 3: whichever kernels run, what is computed and sent back is what the reference says."""

import pytest
import torch

from tests.matrix.asking import feedback_of
from tests.pairs import OWN_EXP, asked
from tieless import untie
from tieless.errors import KernelError
from tieless.ops import OWN_VALUES, dispatch

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = {
    "contiguous": lambda z: z,
    "channels last": lambda z: z.contiguous(memory_format=torch.channels_last),
    "transposed": lambda z: z.transpose(0, 3),
    "every other": lambda z: z[..., ::2],
    "expanded": lambda z: z[:, :1].expand(z.shape),
}


@pytest.fixture
def kernels(monkeypatch):
    """A way to name the kernels that run from now on, as ``TIELESS_KERNELS`` does for a process."""

    def forget():
        dispatch.candidates.cache_clear()
        dispatch.choose_for.cache_clear()

    def named(name):
        monkeypatch.setenv("TIELESS_KERNELS", name)
        forget()

    yield named
    monkeypatch.undo()
    forget()


def _run(pair, z):
    leaf = z.detach().requires_grad_()
    torch.manual_seed(7)
    y = untie(leaf, *pair)
    y.backward(feedback_of(y))
    return y, leaf.grad


@pytest.mark.parametrize("dtype", DTYPES)
def test_numba_and_the_reference_agree(pytestconfig, kernels, dtype):
    pairs = asked(pytestconfig, f"kernels agree in {dtype}")
    plain = (torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(0)) * 2).to(dtype)
    # Two layouts a pair, which change from dtype to dtype: over all four a pair meets every one.
    first = DTYPES.index(dtype)
    cases = [
        (pair, list(LAYOUTS)[(first + place + step) % len(LAYOUTS)])
        for place, pair in enumerate(pairs)
        for step in range(2)
    ]
    results = []
    for name in ("numba", "reference"):
        kernels(name)
        results.append([_run(pair, LAYOUTS[layout](plain)) for pair, layout in cases])
    for case, (y, sent), (expected, expected_sent) in zip(cases, *results, strict=True):
        (forward, rule), _ = case
        eps = torch.finfo(dtype).eps
        if forward in OWN_VALUES:  # PyTorch's own float32 gelu is off by up to 7.6e-7
            torch.testing.assert_close(
                y, expected, rtol=4 * eps, atol=max(4 * eps, 1e-6), msg=lambda said, case=case: f"{case}: {said}"
            )
        else:
            assert torch.equal(y, expected), case
        if rule in OWN_EXP:
            torch.testing.assert_close(
                sent, expected_sent, rtol=8 * eps, atol=1e-30, msg=lambda said, case=case: f"{case}: {said}"
            )
        else:
            assert torch.equal(sent, expected_sent), case
        assert sent.stride() == expected_sent.stride(), case


def test_what_no_kernel_takes_falls_to_the_reference_unless_one_was_named(kernels):
    z = torch.empty(2, 3, device="meta", requires_grad=True)
    untie(z, "relu", "full_jam >> rectangular").sum().backward()
    assert z.grad.shape == (2, 3)
    kernels("numba")
    with pytest.raises(KernelError, match="numba: runs on cpu only"):
        untie(z, "relu", "rectangular")
