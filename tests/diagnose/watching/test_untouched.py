"""``explain`` leaves a model, and PyTorch around it, as they were."""

import copy

import pytest
import torch
from torch import nn

from tieless import Activation, explain


def net(*activations):
    """A hidden layer for each activation, with batch norm before it: 16 numbers in, 8 out."""
    layers, features = [], 16
    for activation in activations:
        layers += [nn.Linear(features, 32), nn.BatchNorm1d(32), activation]
        features = 32
    return nn.Sequential(*layers, nn.Linear(features, 8))


class Stateful(nn.Module):
    """Keeps everything that a module can keep: buffers, random numbers, attributes, lists and dicts."""

    def __init__(self):
        super().__init__()
        self.layers = net(Activation("relu", "full_jam"), Activation("heaviside", "rectangular"))
        self.drop = nn.Dropout(0.5)
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("same_steps", self.steps)
        self.membrane, self.spikes, self.counts = None, [], {}

    def forward(self, x):
        y = self.drop(self.layers(x))
        self.steps += 1
        assert self.same_steps is self.steps
        self.membrane = y if self.membrane is None else self.membrane + y
        self.spikes.append(y)
        self.counts["calls"] = self.counts.get("calls", 0) + 1
        if self.counts["calls"] > 1:
            raise RuntimeError("The native run starts where the first one did.")
        return y


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(training, fails):
    torch.manual_seed(0)
    model = Stateful().train(training)
    model.layers[2].eval()
    calls = []
    model.layers[2].register_forward_hook(lambda *_: calls.append("hook"))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    x = torch.randn(64, 16)
    if fails:
        x = x[:, :3]

    tensors = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    copies, versions = copy.deepcopy([t.detach() for t in tensors]), [t._version for t in tensors]
    modes = [module.training for module in model.modules()]
    attributes = [(module, dict(vars(module))) for module in model.modules()]
    contents = copy.deepcopy([(sorted(vars(module)), list(module._forward_hooks)) for module in model.modules()])
    state = torch.get_rng_state()

    if fails:
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            explain(model, x)
    else:
        found = explain(model, x)
        assert found.run.training is training
        assert calls == ["hook", "hook"]  # once as it is, once as the native model

    assert torch.equal(torch.get_rng_state(), state)
    now = [*model.parameters(), *model.buffers(), *(p.grad for p in model.parameters())]
    assert all(one is other for one, other in zip(now, tensors, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(now, copies, strict=True))
    assert [t._version for t in now] == versions
    assert [module.training for module in model.modules()] == modes
    for module, before in attributes:
        assert vars(module).keys() == before.keys()
        assert all(vars(module)[name] is value for name, value in before.items())
    assert [(sorted(vars(m)), list(m._forward_hooks)) for m in model.modules()] == contents
    assert (model.membrane, model.spikes, model.counts) == (None, [], {})


def test_both_runs_draw_the_same_numbers():
    seen = []

    class Drawing(nn.Sequential):
        def forward(self, x):
            seen.append(torch.rand(3))
            return super().forward(x)

    explain(Drawing(*net(Activation("relu", "full_jam"))), torch.randn(4, 16))
    assert torch.equal(*seen)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode], ids=["no_grad", "inference_mode"])
def test_gradients_are_on_wherever_it_is_called(context):
    model, x = net(Activation("gelu", "tied")), torch.randn(64, 16)
    expected = explain(model, x)
    with context():
        found = explain(model, x)
        assert not torch.is_grad_enabled()
    assert found == expected
