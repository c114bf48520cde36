"""Layers in front of a convolution or a linear layer, packed: where 8 bits hold all numbers, every way of running gives PyTorch's scores."""

import numpy as np
import onnxruntime
import pytest
import torch
from tieless_runtime import evaluate
from torch import nn
from torch.nn import functional as F

from tests.deploy.c.test_program import pytestmark, run
from tieless.deploy import pack, to_c, to_onnx
from tieless.nn import Activation

__all__ = ["pytestmark"]


class Before(nn.Module):
    """Function of the samples, then layers."""

    def __init__(self, function, *layers):
        super().__init__()
        self.function, self.layers = function, nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(self.function(x))


def sign():
    return Activation("sign", "rectangular")


def norm(channels, features=nn.BatchNorm2d):
    """Batch norm whose offsets are a whole number of steps, with factors of both signs, halves and ones."""
    found = features(channels, eps=0)
    found.weight.data = torch.randint(0, 2, (channels,)) * 2.0 - 1
    found.running_mean = torch.randint(0, 200, (channels,)).float()
    found.running_var = torch.randint(0, 2, (channels,)) * 3.0 + 1
    return found


def conv(inputs, outputs=8, kernel=3, **settings):
    return nn.Conv2d(inputs, outputs, kernel, bias=False, **settings)


def shifted(channels):
    """Batch norm that makes a sign of what a rectifier leaves."""
    found = nn.BatchNorm2d(channels, eps=0)
    found.running_mean = torch.randint(-90, 90, (channels,)) + 0.5
    return found


FRONTS = {
    "norm, conv with padding": lambda: [norm(3), conv(3, padding=1)],
    "norm, groups": lambda: [norm(3), conv(3, 6, groups=3, padding=1)],
    "norm, flat": lambda: [norm(3), nn.Flatten(), nn.Linear(147, 16, bias=False)],
    "flat, norm": lambda: [nn.Flatten(), norm(147, nn.BatchNorm1d), nn.Linear(147, 16, bias=False)],
    "line, flat": lambda: [Before(lambda x: (x - 20) / 4, nn.Flatten(), nn.Linear(147, 16, bias=False))],
    "pad more on the left": lambda: [nn.ZeroPad2d((2, 0, 1, 0)), conv(3)],
    "pad more on the right": lambda: [nn.ZeroPad2d((0, 1, 0, 2)), conv(3, stride=2), sign(), conv(8, padding=1)],
    "pad twice": lambda: [Before(lambda x: F.pad(F.pad(x, (1, 0)), (0, 1, 1, 1)), conv(3))],
    "pad, conv that pads and dilates": lambda: [nn.ZeroPad2d((0, 2, 1, 1)), conv(3, padding=1, dilation=2)],
    "pad signs": lambda: [conv(3), sign(), nn.ZeroPad2d((0, 1, 0, 1)), conv(8, stride=2)],
    "same": lambda: [conv(3, kernel=4, padding="same"), sign(), conv(8, kernel=(2, 4), padding="same")],
    "pad in one dimension": lambda: [nn.ZeroPad1d((2, 1)), nn.Conv1d(3, 5, 4, bias=False)],
    "leaky_relu": lambda: [conv(3), nn.LeakyReLU(0.25), shifted(8)],
    "leaky_relu, a forward": lambda: [conv(3), Activation("leaky_relu(0.25)", "leaky_relu(0.25)"), shifted(8)],
    "pool that ends at the border": lambda: [conv(3, padding=1), nn.MaxPool2d(3, 2, ceil_mode=True)],
}


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize("name", FRONTS)
def test_scores_are_pytorchs(name, tmp_path):
    torch.manual_seed(0)
    x = torch.randint(0, 256, (30, 3, 7, 7)).float()
    x[0] = 255
    x = x[..., 0] if name == "pad in one dimension" else x
    front = nn.Sequential(*FRONTS[name](), sign(), nn.Flatten()).eval()
    net = nn.Sequential(front, nn.Linear(front(x).shape[1], 4, bias=False)).eval()
    for layer in net.modules():
        if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d)):
            layer.weight.data = torch.randint(-3, 4, layer.weight.shape).float()
    expected = net(x).detach()
    assert len(expected.unique()) > 20
    assert torch.equal(pack(net, x)(x), expected)
    packed = pack(net, x, "int8")
    scores = packed(x)
    assert torch.allclose(scores * packed.network.score_scale, expected)
    assert (evaluate(packed.network, x.numpy())[packed.network.output] == scores.numpy()).all()
    session = onnxruntime.InferenceSession(to_onnx(packed.network).SerializeToString())
    assert (session.run(["scores"], {"input": x.numpy()})[0] == scores.numpy()).all()
    (found,) = run([to_c(packed.network, "net")], [x.numpy().astype(np.uint8)], tmp_path, "-O1")
    assert (found == scores.numpy()[:, None]).all()
