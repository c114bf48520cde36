"""PyTorch's transformer layers keep their activation in an attribute, and have a kernel that computes one by itself."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.errors import UnreachedWarning

X = torch.linspace(-2, 2, 2 * 5 * 8).reshape(2, 5, 8)


def encoder(activation, **options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation=activation, batch_first=True)
    return nn.TransformerEncoder(layer, 2, **options)


ACTIVATIONS = [pytest.param("relu", id="word"), F.gelu, nn.ReLU(), nn.GELU(), torch.tanh]


def heavy(model, mask=None):
    """Output of a model of Heavisides, by hand: layer by layer, as the slow path has it."""
    y = X
    for layer in model.layers:
        y = layer.norm1(y + layer.self_attn(y, y, y, key_padding_mask=mask, need_weights=False)[0])
        y = layer.norm2(y + layer.linear2((layer.linear1(y) > 0).float()))
    return y


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_no_fast_path_goes_past_an_exchanged_forward(activation, grad, training):
    model = tl.convert(encoder(copy.deepcopy(activation)), backward="rectangular", forward="heaviside", strict=True)
    model.train(training)
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(model(X), heavy(model))


def test_padding_does_not_bring_the_fast_path_back():
    mask = torch.tensor([[False, False, False, True, True], [False, False, False, False, True]])
    model = tl.convert(encoder("relu"), backward="rectangular", forward="heaviside").eval()
    with torch.no_grad():
        found = model(X, src_key_padding_mask=mask)
    torch.testing.assert_close(found[~mask], heavy(model, mask)[~mask])


def test_reverted_the_fast_path_is_back():
    model = encoder("relu").eval()
    before = [(dict(vars(m)), type(m)) for m in model.modules()]
    assert model.layers[0].activation_relu_or_gelu == 1
    tl.convert(model, backward="full_jam")
    assert model.layers[0].activation_relu_or_gelu == 0
    tl.revert(model)
    assert [(dict(vars(m)), type(m)) for m in model.modules()] == before


def test_a_decoder_is_converted_too():
    torch.manual_seed(0)
    model = nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    tl.convert(model, backward="frozen", strict=True)
    model(X, X).sum().backward()
    assert not model.linear1.weight.grad.any()
    assert model.linear2.weight.grad.any()


def test_attention_and_a_lambda_are_left_and_the_lambda_is_named():
    model = nn.Sequential(nn.ReLU(), nn.TransformerEncoderLayer(8, 2, 16, activation=lambda z: F.relu(z) + 1))
    with pytest.warns(UnreachedWarning, match="1: relu, in the attribute activation"):
        tl.convert(model, backward="sign")
    assert [one.name for one in tl.conversion(model).converted] == ["0"]
