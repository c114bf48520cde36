"""Guarantee 1: dtype, device, shape and memory layout out are those that came in."""

import pytest
import torch

from tieless import forwards, rules, untie
from tieless.errors import RuleTypeError

DTYPES = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
LAYOUTS = {
    "plain": lambda: torch.randn(2, 3, 4, 5),
    "channels_last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "channels_last_3d": lambda: torch.randn(2, 3, 2, 4, 5).to(memory_format=torch.channels_last_3d),
    "transposed": lambda: torch.randn(6, 5).t(),
    "strided": lambda: torch.randn(4, 10)[:, ::2],
    "offset": lambda: torch.randn(3, 7)[1:, 1:],
    "expanded": lambda: torch.randn(3, 1).expand(3, 4),
    "one_element": lambda: torch.randn(1, 2),
    "empty": lambda: torch.randn(3, 0),
}


def _expected_layout(z):
    return torch.empty_like(z).stride()


def test_out_is_like_in(forward, rule):
    for dtype in DTYPES:
        for name, make in LAYOUTS.items():
            z = make().to(dtype).detach().requires_grad_()
            seen = []
            z_in = z.view_as(z)  # its gradient is what untie sends, before a leaf lays it out as it likes
            z_in.register_hook(seen.append)
            y = untie(z_in, forward, rule)
            assert (y.shape, y.dtype, y.device) == (z.shape, z.dtype, z.device), (dtype, name)
            # What arrives is laid out unlike z: an expanded number.
            y.sum().backward()
            (sent,) = seen
            assert (sent.shape, sent.dtype) == (z.shape, z.dtype), (dtype, name)
            assert not y.isnan().any(), (dtype, name)
            assert not sent.isnan().any(), (dtype, name)
            if z.numel():
                assert y.stride() == _expected_layout(z), (dtype, name)
                assert sent.stride() == _expected_layout(z), (dtype, name)


def test_a_single_number_is_a_tensor_too(forward, rule):
    if "rotate" in rule:
        return  # a single number has no other direction; refused, and tested with the rule
    z = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    y = untie(z, forward, rule)
    y.backward()
    assert y.shape == z.grad.shape == ()


@pytest.mark.parametrize("layout", ["channels_last", "transposed", "strided"])
def test_layout_changes_no_number(forward, rule, layout):
    z = LAYOUTS[layout]()
    feedback = torch.randn(z.shape)
    sent = []
    for values in (z, z.contiguous()):
        leaf = values.detach().requires_grad_()
        torch.manual_seed(0)
        y = untie(leaf, forward, rule)
        y.backward(feedback)
        sent.append((y.detach(), leaf.grad))
    # Not bit for bit: PyTorch's vectorised gelu and its loop over what is left differ in the last places.
    torch.testing.assert_close(sent[0], sent[1], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool])
def test_what_is_not_floating_is_refused(dtype):
    with pytest.raises(RuleTypeError, match="floating"):
        untie(torch.ones(3, dtype=dtype), "relu", "full_jam")


def test_every_registered_name_is_among_the_cases(cases):
    tested_forwards, tested_rules = cases
    assert {name.partition("(")[0] for name in tested_forwards} == set(forwards())
    assert {part.strip().partition("(")[0] for rule in tested_rules for part in rule.split(">>")} == set(rules())
