"""Gradient that each rule sends, against its definition in plain PyTorch."""

import math

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tieless import untie
from tieless.errors import DimensionError, RuleValueError


def _send(rule, feedback, z=None):
    z = (torch.zeros_like(feedback) if z is None else z.clone()).requires_grad_()
    untie(z, "linear", rule).backward(feedback)
    return z.grad


def _feedback(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("frozen", torch.zeros_like),
        ("constant(-2.5)", lambda g: -2.5 * g),
        ("scale(0.3)", lambda g: 0.3 * g),
        ("sign", torch.sign),
        ("clip(0.4)", lambda g: g.clamp(-0.4, 0.4)),
        ("clip_norm(0.7)", lambda g: g * min(1.0, 0.7 / g.norm().item())),
        ("clip_norm(1e9)", lambda g: g),
        ("centralize", lambda g: g - g.mean(-1, keepdim=True)),
        ("centralize(dim=0)", lambda g: g - g.mean(0, keepdim=True)),
        ("normalize", lambda g: g / g.square().mean((1, 2), keepdim=True).sqrt()),
        ('normalize(per="tensor")', lambda g: g / g.square().mean().sqrt()),
        ("flip(1)", lambda g: -g),
        ("flip(0)", lambda g: g),
        ("drop(0)", lambda g: g),
        ("noise(0)", lambda g: g),
        ("rotate(0)", lambda g: g),
        ("rotate(180)", lambda g: -g),
        ("scale(2) >> clip(0.5)", lambda g: (2 * g).clamp(-0.5, 0.5)),
        ("clip(0.5) >> scale(2)", lambda g: 2 * g.clamp(-0.5, 0.5)),
    ],
)
def test_definition(rule, expected):
    g = _feedback(4, 5, 6)
    torch.testing.assert_close(_send(rule, g), expected(g))


def _signs_of_norm(g, dims):
    signs = g.sign()
    return signs * (g.square().sum(dims, keepdim=True) / signs.square().sum(dims, keepdim=True).clamp(min=1)).sqrt()


@settings(deadline=None)
@given(seed=st.integers(0, 1000), missing=st.floats(0, 1))
def test_signs_of_a_norm_are_those_signs_with_that_norm(seed, missing):
    g = _feedback(4, 3, 5, seed=seed) * torch.tensor([1e-3, 1, 1e3, 1e6]).view(4, 1, 1)
    g = g * (torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(seed)) >= missing)
    torch.testing.assert_close(_send('sign(norm="sample")', g), _signs_of_norm(g, (1, 2)))
    torch.testing.assert_close(_send('sign(norm="tensor")', g), _signs_of_norm(g, (0, 1, 2)))


@pytest.mark.parametrize("whole", ["sample", "tensor"])
def test_signs_of_a_norm_where_there_are_no_samples_or_one(whole):
    rule = f'sign(norm="{whole}")'
    assert _send(rule, torch.zeros(0, 3)).shape == (0, 3)
    assert _send(rule, torch.tensor(-3.0)) == -3
    # How a norm of three is summed depends on the processor.
    torch.testing.assert_close(
        _send(rule, torch.tensor([3.0, -4.0, 0.0])), torch.tensor([1.0, -1, 0]) * (25 / 2) ** 0.5
    )


def test_sign_alone_sends_nothing_of_the_magnitude():
    g = _feedback(20)
    assert torch.equal(_send("sign", g), _send("sign", 7 * g))


@settings(deadline=None)
@given(degrees=st.floats(0.1, 179.9), seed=st.integers(0, 1000))
def test_rotate_turns_each_sample_by_the_angle_and_keeps_its_norm(degrees, seed):
    g = _feedback(3, 40, seed=seed)
    turned = _send(f"rotate({degrees!r})", g)
    torch.testing.assert_close(turned.norm(dim=1), g.norm(dim=1))
    cosine = torch.cosine_similarity(turned, g)
    torch.testing.assert_close(cosine, torch.full_like(cosine, math.cos(math.radians(degrees))), rtol=1e-6, atol=1e-6)


def test_rotate_needs_two_elements_a_sample():
    with pytest.raises(RuleValueError, match="at least 2 elements a sample"):
        _send("rotate(10)", _feedback(5, 1))


@pytest.mark.parametrize(
    "rule", ["normalize", 'normalize(per="tensor")', 'sign(norm="sample")', "rotate(30)", "quantize(4)", "clip_norm(1)"]
)
def test_no_feedback_stays_none(rule):
    assert torch.equal(_send(rule, torch.zeros(3, 4)), torch.zeros(3, 4))


@pytest.mark.parametrize("scale", [1e-38, 1e30])
@pytest.mark.parametrize(
    "rule", ["normalize", 'normalize(per="tensor")', 'sign(norm="tensor")', "rotate(30)", "quantize(4)"]
)
def test_tiny_and_huge_feedback_keeps_its_direction(rule, scale):
    g = _feedback(2, 300, dtype=torch.float32)
    sent = _send(rule, g * scale)
    assert sent.isfinite().all()
    assert torch.nn.functional.cosine_similarity(sent / sent.abs().max(), g).min() > 0.75
    if rule.startswith("normalize"):
        torch.testing.assert_close(sent, _send(rule, g), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "rule",
    [
        "centralize",
        "clip_norm(0.7)",
        "normalize",
        'sign(norm="sample")',
        "noise(0.1)",
        "drop(0.1)",
        "rotate(30)",
        "quantize(4)",
        "scale(0.3)",
    ],
)
def test_half_types_are_rounded_once_at_the_end(rule, dtype):
    g = _feedback(8, 50).to(dtype)
    sent = []
    for kind in (dtype, torch.float32):
        torch.manual_seed(0)
        sent.append(_send(rule, g.to(kind)).to(dtype))
    assert torch.equal(*sent)


def test_noise_has_its_mean_and_spread():
    sent = _send("noise(0.5)", torch.ones(1 << 16))
    assert abs(sent.mean() - 1) < 0.01
    assert abs(sent.std() - 0.5) < 0.01


def test_drop_keeps_the_mean():
    sent = _send("drop(0.25)", torch.ones(1 << 16))
    assert set(sent.unique().tolist()) == {0.0, float(torch.tensor(1 / 0.75))}
    assert abs((sent == 0).float().mean() - 0.25) < 0.01


def test_flip_turns_its_fraction():
    assert abs((_send("flip(0.3)", torch.ones(1 << 16)) < 0).float().mean() - 0.3) < 0.01


@settings(deadline=None)
@given(bits=st.integers(2, 8), seed=st.integers(0, 100))
def test_quantize_has_its_levels_and_half_a_step_of_error(bits, seed):
    g = _feedback(500, seed=seed)
    sent = _send(f"quantize({bits})", g)
    step = g.abs().max() / (2 ** (bits - 1) - 1)
    assert len(sent.unique()) <= 2**bits - 1
    assert (sent - g).abs().max() <= step / 2 * (1 + 1e-9)
    assert sent.abs().max() == pytest.approx(g.abs().max())


# The jams, in every reading of the paper's table; U follows from the seed.
G = torch.linspace(-7, 7, 400)
Z = torch.linspace(-8, 8, 400).flip(0)


def _u(seed=0):
    torch.manual_seed(seed)
    return _send("full_jam", torch.ones(400))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("full_jam", lambda g, z, u: g * u),
        ('full_jam(replace="magnitude")', lambda g, z, u: g.sign() * u),
        ("positive_jam", lambda g, z, u: g * u * (z >= 0)),
        ('positive_jam(gate="feedback")', lambda g, z, u: g * u * (g >= 0)),
        ('positive_jam(gate="feedback", replace="magnitude")', lambda g, z, u: u * (g >= 0)),
        ("rectangular_jam", lambda g, z, u: g * u * ((z >= -5) & (z <= 5))),
        ('rectangular_jam(gate="feedback")', lambda g, z, u: g * u * ((g >= -5) & (g <= 5))),
        ('rectangular_jam(gate="feedback", replace="magnitude")', lambda g, z, u: g.sign() * u * (g.abs() <= 5)),
        (
            'rectangular_jam(gate="feedback", replace="feedback", minimum=-1)',
            lambda g, z, u: (2 * u - 1) * (g.abs() <= 5),
        ),
        ('full_jam(replace="feedback")', lambda g, z, u: u),
        ("full_jam(minimum=-1, maximum=3)", lambda g, z, u: g * (4 * u - 1)),
    ],
)
def test_every_reading_of_jamming(rule, expected):
    u = _u()
    torch.manual_seed(0)
    torch.testing.assert_close(_send(rule, G, Z), expected(G, Z, u))


def test_gates_include_their_edges():
    z = torch.tensor([0.0, -5.0, 5.0])
    torch.manual_seed(0)
    assert (_send("positive_jam", torch.ones(3), z) > 0).tolist() == [True, False, True]
    assert (_send("rectangular_jam", torch.ones(3), z) > 0).all()


@pytest.mark.parametrize(("shape", "dim"), [((3,), 1), ((0,), 1), ((0,), -2), ((0, 3), 2)])
def test_centralize_looks_for_its_dimension_in_an_empty_tensor_too(shape, dim):
    z = torch.zeros(shape, requires_grad=True)
    y = untie(z, "linear", f"centralize(dim={dim})")
    with pytest.raises(DimensionError, match=rf"Expected dim from -\d to \d for a tensor of shape .*, got {dim}\."):
        y.backward(torch.ones(shape))


@pytest.mark.parametrize(("shape", "dim"), [((0,), 0), ((0, 3), 1), ((3, 0), 1), ((3, 0), 0)])
def test_an_empty_tensor_is_centralized_to_an_empty_one(shape, dim):
    z = torch.zeros(shape, requires_grad=True)
    untie(z, "linear", f"centralize(dim={dim})").backward(torch.ones(shape))
    assert z.grad.shape == shape


@pytest.mark.parametrize(
    "rule",
    ["sign", "clip(1)", "flip(0.3)", "scale(2)", "noise(0.1)", 'full_jam(replace="magnitude")', "magnitude_aware"]
    + [f'{rule}="{per}")' for rule in ("sign(norm", "normalize(per") for per in ("sample", "tensor")]
    + ["clip_norm(1)", "centralize", "quantize(3)", "rotate(30)"],
)
def test_nan_in_the_feedback_does_not_vanish(rule):
    """An overflow in a half type must reach who looks for it, such as a GradScaler."""
    for dtype in (torch.float16, torch.float32, torch.float64):
        feedback = torch.tensor([[math.nan, 1.0], [2.0, -3.0]], dtype=dtype)
        assert _send(rule, feedback)[0, 0].isnan()
