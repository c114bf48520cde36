"""Guarantee 2 where one tensor lies in several processes: DTensors, and the collectives of tensor parallelism.

Two processes compare what they get with the whole tensor in one.
"""

import os

import pytest
import torch
from torch import distributed, nn

import tieless as tl
from tests.alone import in_ranks
from tieless.errors import RuleTypeError
from tieless.nn import BinaryLinear, latent_weights

pytestmark = pytest.mark.skipif(
    not (distributed.is_available() and distributed.is_gloo_available()), reason="this PyTorch has no gloo"
)

# By what is kept (nothing, bits, codes, z, y), and then those that look at more than one element or ask a callable.
PAIRS = [
    ("relu", "constant(2)"),
    ("sign", "rectangular(-1, 1)"),
    ("gelu", "few_bit(3)"),
    ("gelu", "tied"),
    ("tanh", "tied"),
    ("heaviside", "atan"),
    ("heaviside", "triangular(1) >> clip(0.5) >> sign"),
    ("relu", "normalize"),
    ("relu", 'normalize(per="tensor")'),
    ("relu", "gated >> clip_norm(0.5)"),
    ("relu", "centralize"),
    ("relu", "quantize(3)"),
    ("relu", 'sign(norm="sample")'),
    ("ternary_weight", "magnitude_aware"),
]
CALLABLES = [(torch.sin, "constant(2)"), (torch.sin, "tied"), (lambda z: z / (1 + z.abs().sum()), "atan")]
DRAWING = [("relu", "full_jam"), ("bernoulli", "constant"), ("relu", "gated >> noise(0.1)")]


def _whole(shape):
    made = torch.Generator().manual_seed(3)
    return torch.randn(shape, generator=made) * 2, torch.randn(shape, generator=made)


def _in_a_mesh(rank, folder, ask):
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    ask(distributed.init_device_mesh("cpu", (2,)))
    distributed.destroy_process_group()


def _expected(z, feedback, forward, rule):
    leaf = z.clone().requires_grad_()
    y = tl.untie(leaf, forward, rule)
    y.backward(feedback)
    return y.detach(), leaf.grad


def _dtensors(mesh):
    from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

    for shape in ((4, 6), (5, 3)):
        z, feedback = _whole(shape)
        for forward, rule in (*PAIRS, *CALLABLES):
            expected = _expected(z, feedback, forward, rule)
            for placement in (Shard(0), Shard(1), Replicate()):
                for arriving in (placement, Shard(0)):
                    leaf = distribute_tensor(z, mesh, [placement]).requires_grad_()
                    y = tl.untie(leaf, forward, rule)
                    assert isinstance(y, DTensor)
                    y.backward(distribute_tensor(feedback, mesh, [arriving]))
                    got = (y.detach().full_tensor(), leaf.grad.full_tensor())
                    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6, msg=f"{forward} {rule} {placement}")
    z, feedback = _whole((4, 6))
    # A sum that is still to be taken, of a z and of its feedback.
    halves = DTensor.from_local(z / 2, mesh, [Partial()]).requires_grad_()
    y = tl.untie(halves, "heaviside", "triangular(1)")
    y.backward(DTensor.from_local(feedback / 2, mesh, [Partial()]))
    expected = _expected(z, feedback, "heaviside", "triangular(1)")
    torch.testing.assert_close((y.detach().full_tensor(), halves.grad.full_tensor()), expected)
    # A matrix that lies by columns.
    turned = distribute_tensor(z.t(), mesh, [Shard(0)])
    assert tl.untie(turned, "heaviside", "atan").stride() == torch.relu(turned).stride()
    for forward, rule in DRAWING:
        with pytest.raises(RuleTypeError, match="draws random numbers, and z is a DTensor"):
            tl.untie(distribute_tensor(z, mesh, [Replicate()]), forward, rule)
    with pytest.raises(RuleTypeError, match="A slope that learns cannot take a DTensor"):
        tl.nn.LearnableActivation()(distribute_tensor(z, mesh, [Shard(0)]))
    _packed(mesh, z)
    _compiled(mesh, z, feedback)


def _packed(mesh, z):
    from torch.distributed.tensor import Shard, distribute_tensor

    sent = []
    for packing in (False, True):
        leaf = distribute_tensor(z, mesh, [Shard(0)]).requires_grad_()
        with tl.packed_activations(min_elements=1 if packing else 10**6):
            y = tl.untie(leaf, "sign", "rectangular(-1, 1)")
            (y * y).sum().backward()
        sent.append(leaf.grad.full_tensor())
    assert torch.equal(*sent)


def _compiled(mesh, z, feedback):
    from torch.distributed.tensor import Shard, distribute_tensor

    for forward, rule in (("sign", "rectangular(-1, 1)"), ("relu", "clip_norm(0.5)")):
        compiled = torch.compile(tl.Activation(forward, rule), backend="aot_eager", fullgraph=True)
        leaf = distribute_tensor(z, mesh, [Shard(0)]).requires_grad_()
        y = compiled(leaf)
        y.backward(distribute_tensor(feedback, mesh, [Shard(0)]))
        expected = _expected(z, feedback, forward, rule)
        torch.testing.assert_close((y.detach().full_tensor(), leaf.grad.full_tensor()), expected)


def _tensor_parallel(mesh):
    from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

    for forward, rule in (("heaviside", "atan"), ("sign", "rectangular(-1, 1)"), ("tanh", "tied")):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Linear(8, 16),
            tl.Activation(forward, rule),
            nn.Linear(16, 16),
            tl.Activation(forward, rule),
            nn.Linear(16, 4),
        )
        x = torch.randn(4, 8, requires_grad=True)
        net(x).sum().backward()
        expected, x.grad = x.grad, None
        parallelize_module(net, mesh, {"0": ColwiseParallel(), "2": RowwiseParallel()})
        # What RowwiseParallel returns has not arrived when the second activation is given it.
        net(x).sum().backward()
        torch.testing.assert_close(x.grad, expected, msg=f"{forward} {rule}")


def _written(mesh):
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, distribute_module

    writes = {
        "init": lambda layer: nn.init.constant_(layer.weight, -0.25),
        "data": lambda layer: layer.weight.data.mul_(-2),
        "a view": lambda layer: layer.weight.data.t().fill_(3.0),
    }
    for spread in (lambda layer: fully_shard(layer, mesh=mesh), lambda layer: distribute_module(layer, mesh)):
        for name, write in writes.items():
            torch.manual_seed(0)
            layer, plain = BinaryLinear(4, 6), nn.Linear(4, 6)
            plain.load_state_dict({"weight": latent_weights(layer)[0], "bias": layer.bias})
            spread(layer)
            write(layer)
            write(plain)
            latent = latent_weights(layer)[0]
            assert isinstance(latent, DTensor)
            assert torch.equal(latent.full_tensor(), plain.weight), name
            assert repr(layer.weight).startswith("DTensor")
            assert torch.equal(layer.weight.full_tensor(), torch.where(plain.weight >= 0, 1.0, -1.0)), name
            with torch.no_grad():
                layer.weight.to_local().fill_(-2.0)
            assert (latent_weights(layer)[0] == -2).full_tensor().all()
            held = layer.weight.data
            held.fill_(0.5)
            assert (held == 1).full_tensor().all()


def test_a_dtensor_is_untied_as_the_whole_tensor(tmp_path):
    in_ranks(_in_a_mesh, str(tmp_path), _dtensors)


def test_tensor_parallel_layers_send_the_gradient_of_one_process(tmp_path):
    in_ranks(_in_a_mesh, str(tmp_path), _tensor_parallel)


def test_what_writes_to_a_quantised_weight_that_is_spread_writes_to_its_latent_weights(tmp_path):
    in_ranks(_in_a_mesh, str(tmp_path), _written)
