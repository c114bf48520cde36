"""Writes to a quantised weight: the judge is a plain layer, to whose weight the same is done."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch._subclasses import FakeTensor, FakeTensorMode

from tieless import untie
from tieless.errors import RuleTypeError
from tieless.nn import BinaryLinear, QuantConv2d, TernaryLinear, latent_weights, quantize_weights
from tieless.packing import packed_activations

SHAPE = (6, 4)


def _same_start():
    """A binary layer, and a plain one with its latent weights as weights."""
    torch.manual_seed(0)
    layer, plain = BinaryLinear(4, 6), nn.Linear(4, 6)
    with torch.no_grad():
        plain.weight.copy_(latent_weights(layer)[0])
        plain.bias.copy_(layer.bias)
    return layer, plain


def _signs(latent):
    return torch.where(latent >= 0, 1.0, -1.0)


def _rows(weight):
    for row in weight.data:
        row.mul_(-2)


def _initialise(module):
    if isinstance(module, nn.Linear):
        nn.init.kaiming_normal_(module.weight)


def _add(layer):
    layer.weight.data += 1.5


def _assign_sum(layer):
    with torch.no_grad():
        layer.weight += 1.5


def _masked(layer):
    layer.weight.data[torch.eye(6, 4) > 0] = 0.0


_INDICES = torch.zeros(SHAPE, dtype=torch.long)
WRITES = {
    "reset_parameters": lambda layer: layer.reset_parameters(),
    "apply": lambda layer: nn.Sequential(layer).apply(_initialise),
    "xavier": lambda layer: nn.init.xavier_uniform_(layer.weight),
    "trunc_normal": lambda layer: nn.init.trunc_normal_(layer.weight, std=0.02),
    "orthogonal": lambda layer: nn.init.orthogonal_(layer.weight),
    "eye": lambda layer: nn.init.eye_(layer.weight),
    "sparse": lambda layer: nn.init.sparse_(layer.weight, 0.5),
    "constant": lambda layer: nn.init.constant_(layer.weight, -0.3),
    "data.normal_": lambda layer: layer.weight.data.normal_(),
    "data.copy_": lambda layer: layer.weight.data.copy_(torch.linspace(-1, 1, 24).view(SHAPE)),
    "data +=": _add,
    "weight +=": _assign_sum,
    "detach": lambda layer: layer.weight.detach().fill_(0.25),
    "one row": lambda layer: layer.weight.data[2].fill_(-7.0),
    "one element": lambda layer: layer.weight.data.__setitem__((1, 1), 5.0),
    "a mask": _masked,
    "a view": lambda layer: layer.weight.data.view(-1)[3:9].zero_(),
    "the transposed": lambda layer: layer.weight.data.T[1].neg_(),
    "each row": lambda layer: _rows(layer.weight),
    "chunks": lambda layer: layer.weight.data.chunk(2)[1].add_(1),
    "parts": lambda layer: layer.weight.data.split(2)[1].add_(1),
    "unflattened": lambda layer: layer.weight.T.unflatten(1, (2, 3)).detach().add_(1),
    "data =": lambda layer: setattr(layer.weight, "data", torch.full(SHAPE, 0.5)),
    "out": lambda layer: torch.add(torch.ones(SHAPE), 1, out=layer.weight.data),
    "clamp_": lambda layer: layer.weight.data.clamp_(-0.1, 0.1),
    "torch.clamp_": lambda layer: torch.clamp_(layer.weight.data, max=0.1),
    "relu in place": lambda layer: nn.functional.relu(layer.weight.data, inplace=True),
    "hardtanh, by place": lambda layer: nn.functional.hardtanh(layer.weight.data, -0.1, 0.1, True),
    "an operator": lambda layer: torch.ops.aten.mul_.Tensor(layer.weight.data, torch.tensor(-2.0)),
    "each of a list": lambda layer: torch._foreach_add_([layer.bias.detach(), layer.weight.data], 1.5),
    "lists": lambda layer: torch._foreach_copy_([layer.weight.detach()], [torch.full(SHAPE, 0.5)]),
    "each of a tuple": lambda layer: torch._foreach_mul_((layer.bias.detach(), layer.weight.data), -1.5),
    "one of several": lambda layer: torch.max(torch.ones(2, *SHAPE), 0, out=(layer.weight.data, _INDICES.clone())),
    "an optimiser": lambda layer: _sgd([layer.weight.data], [torch.ones(SHAPE)]),
}


def _sgd(weights, gradients):
    settings = {"weight_decay": 0.1, "momentum": 0.0, "lr": 0.1, "dampening": 0.0, "nesterov": False, "maximize": False}
    torch._fused_sgd_(weights, gradients, [], is_first_step=True, **settings)


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_what_writes_to_the_weight_of_a_plain_layer_writes_to_the_latent_weights(write):
    layer, plain = _same_start()
    before = plain.weight.detach().clone()
    latent = latent_weights(layer)[0]
    for one in (layer, plain):
        torch.manual_seed(1)
        write(one)
    assert not torch.equal(plain.weight, before)
    assert latent_weights(layer)[0] is latent
    assert torch.equal(latent, plain.weight)
    assert torch.equal(layer.weight, _signs(plain.weight))
    assert torch.equal(layer.bias, plain.bias)


def test_who_holds_a_weight_that_is_written_to_sees_the_new_values():
    layer, _ = _same_start()
    held = layer.weight.data
    part = held[0]
    assert nn.init.constant_(held, -0.3) is held
    assert (held == -1).all()
    assert (part == -1).all()
    part.fill_(2.0)
    assert held.unique().tolist() == [-1, 1]


def test_a_write_where_pytorch_forbids_it_is_forbidden():
    layer, plain = _same_start()
    for one in (layer, plain):
        with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
            one.weight[0] = 1.0
    assert torch.equal(latent_weights(layer)[0], plain.weight)


def test_a_write_that_cannot_be_sent_on_is_an_error_that_names_the_latent_weights():
    layer, _ = _same_start()
    with pytest.raises(RuleTypeError, match=r"would be lost.*latent_weights\(layer\)\[0\]"):
        nn.functional.embedding(torch.tensor([0]), layer.weight.data, max_norm=0.1)


def test_assigning_copies_a_tensor_and_takes_over_a_parameter():
    layer, _ = _same_start()
    given = torch.full(SHAPE, -0.5)
    layer.weight = given
    given.zero_()
    assert (latent_weights(layer)[0] == -0.5).all()
    shared = nn.Embedding(6, 4).weight
    layer.weight = shared
    assert latent_weights(layer)[0] is shared
    other = BinaryLinear(4, 6)
    other.weight = layer.weight
    assert torch.equal(latent_weights(other)[0], _signs(shared))


@pytest.mark.parametrize(
    "given", [torch.full(SHAPE, -0.5), nn.Parameter(torch.full(SHAPE, -0.5))], ids=["plain", "learns"]
)
def test_a_functional_call_leaves_the_latent_weights_as_they_were(given):
    layer, plain = _same_start()
    latent, x = latent_weights(layer)[0], torch.ones(2, 4)
    y = torch.func.functional_call(nn.Sequential(layer), {"0.weight": given}, (x,))
    torch.testing.assert_close(y, x @ _signs(given).T + plain.bias)
    assert latent_weights(layer)[0] is latent
    assert torch.equal(latent, plain.weight)
    if given.requires_grad:
        y.sum().backward()
        assert torch.equal(given.grad, torch.full(SHAPE, 2.0))


def test_a_weight_that_was_read_can_be_put_back():
    layer, plain = _same_start()
    read = layer.weight
    layer.weight = torch.ones(SHAPE)
    layer.weight = read
    assert torch.equal(latent_weights(layer)[0], plain.weight)


def test_an_assigned_tensor_that_would_get_no_gradient_is_refused():
    layer, plain = _same_start()
    weight = torch.ones(SHAPE, requires_grad=True)
    with pytest.raises(RuleTypeError, match=r"would get none.*torch\.nn\.Parameter"):
        torch.func.functional_call(layer, {"weight": weight * 2}, (torch.ones(2, 4),))
    assert torch.equal(latent_weights(layer)[0], plain.weight)


def test_a_weight_of_another_tensor_class_passes_writes_on():
    with FakeTensorMode():
        layer = BinaryLinear(4, 6)
        latent = latent_weights(layer)[0]
        before = latent._version
        nn.init.constant_(layer.weight, -0.3)
        assert latent._version > before
        assert isinstance(layer.weight * 1, FakeTensor)
        assert layer.weight.device == torch.device("cpu")
        assert layer(torch.ones(2, 4)).shape == (2, 6)


def test_gradients_and_hooks_of_a_weight_are_those_of_the_latent_weights():
    layer, _ = _same_start()
    latent, seen = latent_weights(layer)[0], []
    layer.weight.register_hook(seen.append)
    layer(torch.ones(2, 4)).sum().backward()
    assert torch.equal(seen[0], latent.grad)
    assert layer.weight.grad is latent.grad
    assert layer.weight.data.grad is None
    nn.utils.clip_grad_norm_([layer.weight], 1e-3)
    assert latent.grad.norm() < 2e-3
    compiled = torch.compile(lambda: layer.weight.grad * 2, backend="aot_eager")
    assert torch.equal(compiled(), latent.grad * 2)


def test_flags_and_attributes_are_those_of_the_latent_weights():
    layer, _ = _same_start()
    latent = latent_weights(layer)[0]
    layer.weight.requires_grad_(False)
    assert not latent.requires_grad
    layer.weight.requires_grad = True
    assert latent.requires_grad
    layer.weight.no_decay = True
    assert latent.no_decay
    assert layer.weight.no_decay
    assert not hasattr(layer.weight, "decay")


def test_reading_gives_plain_tensors_and_the_same_gradient():
    layer, _ = _same_start()
    latent = latent_weights(layer)[0]
    values = _signs(latent)
    assert torch.equal(layer.weight, values)
    for one in (layer.weight * 1, layer.weight.clone(), torch.stack([layer.weight, layer.weight])):
        assert type(one) is torch.Tensor
    assert type(pickle.loads(pickle.dumps(layer.weight.data))) is torch.Tensor
    assert torch.equal(copy.deepcopy(layer.weight.data), values)
    assert repr(layer.weight).startswith("tensor([[")
    untie(layer.weight, "sign", "constant").sum().backward()
    assert torch.equal(latent.grad, (latent.abs() <= 1).float())
    assert layer.weight.numpy(force=True).tolist() == values.tolist()


@pytest.mark.parametrize("layer", [TernaryLinear(4, 4), QuantConv2d(2, 3, 3, bits=3)], ids=["ternary", "bits"])
def test_the_other_layers_pass_writes_on_too(layer):
    nn.init.constant_(layer.weight, 0.25)
    assert (latent_weights(layer)[0] == 0.25).all()
    assert torch.allclose(layer.weight, torch.tensor(0.25))


def test_binary_weights_are_still_packed_to_bits():
    net = quantize_weights(nn.Sequential(nn.Linear(64, 64, bias=False)), keep_ends=False)
    x = torch.randn(8, 64, requires_grad=True)
    with packed_activations(min_elements=2048) as packed:
        net(x).sum().backward()
    assert (packed.tensors, packed.bytes_packed) == (1, 64 * 64 // 8)


@pytest.mark.parametrize(
    ("write", "error", "says"),
    [
        (lambda layer: layer.weight.detach().numpy().fill(9), ValueError, "read-only"),
        (lambda layer: layer.weight.data.view(-1).numpy().fill(9), ValueError, "read-only"),
        (lambda layer: layer.weight.numpy(force=True).fill(9), ValueError, "read-only"),
        (lambda layer: np.asarray(layer.weight.data).fill(9), ValueError, "read-only"),
        (lambda layer: torch.from_dlpack(layer.weight.detach()), RuleTypeError, "DLPack shares would be lost"),
        (lambda layer: np.from_dlpack(layer.weight.detach()), RuleTypeError, r"latent_weights\(layer\)"),
        (lambda layer: torch.utils.swap_tensors(layer.weight, nn.Parameter(torch.ones(SHAPE))), RuntimeError, "slots"),
        (lambda layer: torch.utils.swap_tensors(nn.Parameter(torch.ones(SHAPE)), layer.weight), RuntimeError, "slots"),
        (lambda layer: setattr(layer, "weight", None), RuleTypeError, "is a tensor, got None"),
        (lambda layer: setattr(layer, "weight", [1.0]), RuleTypeError, r"is a tensor, got \[1\.0\]"),
    ],
    ids=["numpy", "view", "force", "asarray", "dlpack", "dlpack_numpy", "swap", "swapped", "none", "list"],
)
def test_a_write_past_pytorch_is_an_error(write, error, says):
    layer, plain = _same_start()
    with pytest.raises(error, match=says):
        write(layer)
    assert torch.equal(latent_weights(layer)[0], plain.weight)


def test_numpy_reads_the_values_and_copies_can_be_written_to():
    layer, plain = _same_start()
    assert (layer.weight.detach().numpy() == _signs(plain.weight).numpy()).all()
    layer.weight.detach().numpy().astype("float64").fill(9)
    layer.weight.detach().numpy().copy().fill(9)
    assert torch.from_dlpack(layer.weight.detach().clone()).fill_(9).sum() == 9 * 24


# Compiled and transformed code: the judge is a plain layer under the same.


TRACEABLE = [
    "xavier",
    "constant",
    "data.copy_",
    "detach",
    "one row",
    "a view",
    "the transposed",
    "chunks",
    "parts",
    "unflattened",
    "out",
    "torch.clamp_",
    "relu in place",
    "hardtanh, by place",
    "an operator",
    "each of a list",
    "each of a tuple",
    "one of several",
]


@pytest.mark.parametrize("write", [WRITES[name] for name in TRACEABLE], ids=TRACEABLE)
def test_compiled_code_writes_to_the_latent_weights(write):
    layer, plain = _same_start()
    latent = latent_weights(layer)[0]
    x = torch.randn(3, 4)
    values = []
    for one in (layer, plain):

        def written(x, one=one):
            write(one)
            return one(x)

        torch.manual_seed(1)
        torch._dynamo.reset()
        values.append(torch.compile(written, backend="aot_eager", fullgraph=True)(x))
    assert torch.equal(latent, plain.weight)
    torch.testing.assert_close(values[0], x @ _signs(plain.weight).T + plain.bias)


def test_compiled_code_that_only_reads_the_weight_is_one_graph_as_it_was():
    layer, _ = _same_start()
    latent, x = latent_weights(layer)[0], torch.randn(3, 4)

    def reads(x):
        row = layer.weight[0, 1:].norm() + layer.weight.reshape(-1)[2] + layer.weight[layer.weight > 0].mean()
        several = torch.cat([layer.weight, layer.weight.T.mT]).sum() + sum(row.sum() for row in layer.weight)
        return layer(x.to(layer.weight.dtype)) + row + several * len(layer.weight)

    (expected,) = torch.autograd.grad(reads(x).square().sum(), latent)
    compiled = torch.compile(reads, backend="aot_eager", fullgraph=True)
    (found,) = torch.autograd.grad(compiled(x).square().sum(), latent)
    torch.testing.assert_close(found, expected)


@pytest.mark.filterwarnings("ignore")
def test_a_weight_may_live_across_the_end_of_a_graph():
    layer, plain = _same_start()
    x = torch.randn(3, 4)

    def broken(x):
        weight = layer.weight
        torch._dynamo.graph_break()
        with torch.no_grad():
            weight.neg_()
        return nn.functional.linear(x, weight)

    values = torch.compile(broken, backend="aot_eager")(x)
    assert torch.equal(latent_weights(layer)[0], -plain.weight)
    torch.testing.assert_close(values, x @ _signs(-plain.weight).T)


@pytest.mark.filterwarnings("ignore")
def test_a_weight_has_its_attributes_across_the_end_of_a_graph():
    layer, plain = _same_start()
    latent = latent_weights(layer)[0]

    def broken(one):
        weight = one.weight
        torch._dynamo.graph_break()
        weight.data.mul_(-2)
        weight.T.unflatten(1, (2, 3)).detach().add_(1)
        return weight.mT.sum()

    for one in (layer, plain):
        torch._dynamo.reset()
        torch.compile(broken, backend="aot_eager")(one)
    assert torch.equal(latent, plain.weight)


PERHAPS_COPIES = {
    "copy": lambda weight: weight.T.reshape(-1).zero_(),
    "rows": lambda weight: [row.zero_() for row in weight],
    "atleast": lambda weight: torch.atleast_3d(weight).zero_(),
    "strides": lambda weight: torch.as_strided(weight, (2,), (1,)).zero_(),
    "einsum": lambda weight: torch.einsum("ij->ji", weight).zero_(),
    "max_norm": lambda weight: nn.functional.embedding(torch.tensor([0]), weight, max_norm=0.1),
}


@pytest.mark.parametrize("write", PERHAPS_COPIES.values(), ids=PERHAPS_COPIES)
def test_compiled_code_that_writes_to_what_may_be_a_copy_is_refused(write):
    layer, plain = _same_start()
    torch._dynamo.reset()
    with pytest.raises(Exception, match=r"RuleTypeError: What compiled code writes .*latent_weights\(layer\)\[0\]"):
        torch.compile(lambda: write(layer.weight.data), backend="aot_eager")()
    assert torch.equal(latent_weights(layer)[0], plain.weight)


FUNCTIONAL = ["constant", "data.copy_", "detach", "one row", "a mask", "chunks", "clamp_"]


@pytest.mark.parametrize("write", [WRITES[name] for name in FUNCTIONAL], ids=FUNCTIONAL)
def test_a_transform_writes_to_the_weights_that_it_differentiates(write):
    found = []
    for one in _same_start():
        torch.manual_seed(1)
        weights = {name: weight.detach().clone() for name, weight in one.named_parameters()}

        class Net(nn.Module):
            def __init__(self, one):
                super().__init__()
                self.one = one

            def forward(self, x):
                write(self.one)
                return self.one(x)

        inside = {f"one.{name}": weight for name, weight in weights.items()}
        net = Net(one)
        torch.func.grad(lambda w, net=net: torch.func.functional_call(net, w, (torch.ones(2, 4),)).sum())(inside)
        found.append(next(weight for weight in weights.values() if weight.shape == SHAPE))
    assert torch.equal(found[0], found[1])


def test_a_transform_refuses_a_write_to_a_weight_outside_as_for_a_plain_layer():
    for one in _same_start():
        before = [weight.detach().clone() for weight in one.parameters()]
        with pytest.raises(RuntimeError, match="mutate a captured Tensor"):
            torch.func.grad(lambda x, one=one: (one.weight.detach().mul_(-2), one(x).sum())[1])(torch.ones(4))
        assert all(torch.equal(weight, was) for weight, was in zip(one.parameters(), before, strict=True))


def test_a_mapped_write_and_one_under_a_mode_reach_the_latent_weights():
    layer, plain = _same_start()
    for one in (layer, plain):
        torch.func.vmap(lambda x, one=one: (one.weight.detach().mul_(-2), one(x))[1])(torch.ones(2, 4))
        with torch.utils.flop_counter.FlopCounterMode(display=False):
            one.weight.detach().add_(1)
    assert torch.equal(latent_weights(layer)[0], plain.weight)
