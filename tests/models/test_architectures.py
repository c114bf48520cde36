"""Residual networks, transformers and recurrent ones against PyTorch's own layers, and their published sizes."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tieless import Activation
from tieless.errors import RuleValueError
from tieless.models import GPT, GRU, GRULayer, ResNet, ViT, build_model


def _size(net):
    return sum(p.numel() for p in net.parameters())


def _same_gradients(net, twin, x):
    """Both give the same, and send the same to their input."""
    answers = []
    for each in (net, twin):
        leaf = x.clone().requires_grad_()
        y = each(leaf)
        y.square().sum().backward()
        answers.append((y, leaf.grad))
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_resnet_20_has_the_published_number_of_weights():
    """0.27 million in table 6 of arXiv:1512.03385: 269,722 for images of three channels, so 2 x 144 less for one."""
    assert _size(ResNet()) == 269_722 - 2 * 16 * 9
    assert len([module for module in ResNet().modules() if isinstance(module, Activation)]) == 19


@pytest.mark.parametrize("depth", [2, 7, 21])
def test_a_resnet_of_another_depth_is_refused(depth):
    with pytest.raises(RuleValueError, match=f"6 k \\+ 2 .* got {depth}"):
        ResNet(depth=depth)


def test_a_shortcut_thins_out_and_pads():
    torch.manual_seed(0)
    net = ResNet("relu", "tied", depth=8, width=2).double().eval()
    x = torch.randn(3, 2, 8, 8, dtype=torch.float64)
    block = net.blocks[1]
    norm = (1 + 1e-5) ** 0.5
    residue = F.conv2d(x, block.conv1.weight, stride=2, padding=1) / norm
    residue = F.conv2d(residue.relu(), block.conv2.weight, padding=1) / norm
    shortcut = torch.zeros(3, 4, 4, 4, dtype=torch.float64)
    shortcut[:, 1:3] = x[:, :, ::2, ::2]
    torch.testing.assert_close(block(x), (residue + shortcut).relu())


def _native_block(block, heads, width):
    native = nn.TransformerEncoderLayer(
        width, heads, 4 * width, dropout=0, activation="gelu", batch_first=True, norm_first=True
    )
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "hidden": "linear1",
        "out": "linear2",
        "attention.out": "self_attn.out_proj",
    }
    state = {}
    for ours, theirs in names.items():
        for kind in ("weight", "bias"):
            state[f"{theirs}.{kind}"] = block.get_submodule(ours).get_parameter(kind)
    for kind in ("weight", "bias"):
        state[f"self_attn.in_proj_{kind}"] = block.attention.projections.get_parameter(kind)
    native.load_state_dict(state)
    return native.to(block.norm1.weight.dtype)


@pytest.mark.parametrize("causal", [False, True])
def test_a_transformer_block_is_pytorchs(causal):
    torch.manual_seed(0)
    net = GPT(codes=5, width=8, depth=1, heads=2) if causal else ViT(width=8, depth=1, heads=2)
    block = net.blocks[0].double()
    native = _native_block(block, 2, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(6, dtype=torch.float64) if causal else None
    x = torch.randn(3, 6, 8, dtype=torch.float64)
    _same_gradients(block, lambda leaf: native(leaf, src_mask=mask, is_causal=causal), x)


def test_a_vit_sees_patches_at_their_places():
    torch.manual_seed(0)
    net = ViT(width=8, depth=1, heads=2).eval()
    image = torch.rand(1, 1, 28, 28)
    turned = image.clone()
    turned[..., :4, :4], turned[..., 4:8, 4:8] = image[..., 4:8, 4:8], image[..., :4, :4]
    assert not torch.allclose(net(image), net(turned))
    with torch.no_grad():
        net.places.zero_()
    torch.testing.assert_close(net(image), net(turned))
    assert ViT(width=8, depth=1, heads=2, image=16, patch=8)(torch.rand(3, 1, 16, 16)).shape == (3, 10)
    with pytest.raises(RuleValueError, match="28 and 5"):
        ViT(patch=5)
    with pytest.raises(RuleValueError, match="8 and 3"):
        ViT(width=8, heads=3)


def test_gated_recurrent_units_are_pytorchs():
    torch.manual_seed(0)
    ours, native = GRULayer(3, 5).double(), nn.GRU(3, 5, batch_first=True).double()
    native.load_state_dict(ours.state_dict())
    _same_gradients(ours, lambda leaf: native(leaf)[0], torch.randn(2, 7, 3, dtype=torch.float64))


@pytest.mark.parametrize(("gates", "rule"), [("untied", "constant(1)"), ("tied", "tied")])
def test_gates_have_the_rule_or_their_derivative(gates, rule):
    layer = GRULayer(3, 5, "heaviside", "constant", gates=gates)
    assert (str(layer.gates.forward_fn), str(layer.gates.rule)) == ("logistic", rule)
    assert (str(layer.act.forward_fn), str(layer.act.rule)) == ("heaviside", "constant(1)")


@pytest.mark.parametrize("net", [GPT(codes=11, context=9, width=8, depth=2, heads=2), GRU(codes=11, width=8)])
def test_what_is_scored_at_a_code_follows_from_it_and_those_before(net):
    torch.manual_seed(0)
    x = torch.randint(11, (2, 9))
    other = x.clone()
    other[:, 5] = (x[:, 5] + 1) % 11
    one, two = net(x), net(other)
    assert one.shape == (2, 11, 9)
    torch.testing.assert_close(one[..., :5], two[..., :5])
    assert not torch.isclose(one[..., 5:], two[..., 5:]).all(1).any()
    F.cross_entropy(one, x).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("spec", ["gpt(8, 1, heads=2)", "gru(16)"])
def test_a_model_of_codes_learns_what_follows(spec):
    torch.manual_seed(0)
    net = build_model(spec, "relu", "constant", features=12, classes=6)
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    x = (torch.arange(13) + torch.arange(8)[:, None]) % 6
    for _ in range(80):
        optimiser.zero_grad()
        loss = F.cross_entropy(net(x[:, :-1]), x[:, 1:])
        loss.backward()
        optimiser.step()
    assert (net(x[:, :-1]).argmax(1) == x[:, 1:]).float().mean() > 0.9


@pytest.mark.parametrize("spec", ["gpt(9, 1)", "vit(9, 1)", "gpt(8, 0)", "resnet(9)", "gru(0)"])
def test_a_shape_that_no_network_has_is_refused(spec):
    with pytest.raises(RuleValueError, match=f"^{spec.partition('(')[0]} needs "):
        build_model(spec, "relu", "tied", features=784, classes=3)
