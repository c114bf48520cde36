"""Guarantee 2 beside the matrix (``tests/matrix``): other ways to write the halves, layouts, whole networks, refusals."""

from functools import partial

import pytest
import torch
from torch import fx, nn
from torch.utils.checkpoint import checkpoint

from tests.matrix.asking import CLOSE, EQUAL, compared, gradient, input_of, layers
from tieless import Activation, FullJam, Rectangular, untie
from tieless.errors import TransformError

# Torch's own: Dynamo makes an instance of the autograd function while it traces.
pytestmark = pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")


def _compiled(function, backend="aot_eager"):
    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=backend)


def test_compiled_modules_and_rule_objects_are_eager():
    """The halves as specs, as values and inside modules: what a compiler sees differs, what runs does not."""
    rule = Rectangular(-1, 1) >> FullJam()
    first, second = Activation("relu", rule), Activation(torch.sin, "positive_jam >> tied")

    def network(z):
        return untie(second(first(z)), "tanh", rule)

    assert torch.equal(gradient(_compiled(network), input_of()), gradient(network, input_of()))


def _capturing(bound):
    return lambda z: z.clamp(-bound, bound)


@pytest.mark.parametrize(
    "function",
    [torch.sin, _capturing(1.5), partial(torch.clamp, min=-1), nn.Softsign()],
    ids=lambda f: type(f).__name__,
)
@pytest.mark.parametrize("backward", ["positive_jam", "rectangular(-1, 1)", "constant(2)"])
def test_compiled_callables_are_eager(function, backward):
    def network(z):
        return untie(z, function, backward)

    assert torch.equal(gradient(_compiled(network), input_of()), gradient(network, input_of()))


def test_a_compiled_network_trains_as_the_eager_one():
    steps = []
    for compiled in (False, True):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(12, 8), Activation("relu", "full_jam"), nn.Linear(8, 3))
        run = _compiled(net) if compiled else net
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            optimiser.zero_grad()
            run(input_of()).square().mean().backward()
            optimiser.step()
        steps.append([parameter.detach().clone() for parameter in net.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*steps, strict=True))


def test_a_compiled_checkpoint_is_eager_where_z_is_transposed(rule, fitting_forwards):
    function = layers("leaky_relu" if "leaky_relu" in fitting_forwards else fitting_forwards[0], rule)
    z = input_of().t().contiguous().t()
    compiled = _compiled(lambda x: checkpoint(function, x, use_reentrant=False))
    assert compared(gradient(compiled, z), gradient(function, z)) in {EQUAL, CLOSE}


def test_fx_writes_the_pair_down_as_specs():
    net = fx.symbolic_trace(nn.Sequential(Activation("relu", "rectangular >> full_jam")))
    assert "'relu', 'rectangular(-0.5, 0.5) >> full_jam'" in net.code


def test_fx_refuses_what_it_cannot_write_down():
    with pytest.raises(TransformError, match="cannot write the callable sin into its code"):
        fx.symbolic_trace(Activation(torch.sin, "constant"))
    generator = torch.Generator()
    with pytest.raises(TransformError, match="cannot write a generator"):
        fx.symbolic_trace(lambda z: untie(z, "relu", "full_jam", generator=generator))
