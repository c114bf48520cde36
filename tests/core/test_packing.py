"""``packed_activations`` among everything else that PyTorch does. The same network without it is the judge."""

import contextlib
import copy
import threading

import pytest
import torch
from torch import nn
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from tieless import Activation
from tieless.errors import RuleTypeError, RuleValueError, TransformError
from tieless.packing import packed_activations

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


class _Step(torch.autograd.Function):
    """Heaviside with the gradient of the identity, as users write it. Unlike a rule, it has second derivatives."""

    @staticmethod
    def forward(ctx, z):
        return (z > 0).to(z.dtype)

    @staticmethod
    def backward(ctx, grad_output):
        return grad_output


class _StraightThrough(nn.Module):
    def forward(self, z):
        return _Step.apply(z)


class _ByAddition(nn.Module):
    """The other step that users write. Rounded twice it is exactly 1 or -1 all the same."""

    def forward(self, z):
        return z + (z.sign() - z).detach()


class _Attention(nn.Module):
    """Three layers keep one binary tensor, and products keep pieces of another."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(3))
        self.act = Activation("sign", "rectangular(-1, 1)")

    def forward(self, x):
        y = self.act(x)
        q, k, v = self.q(y), self.act(self.k(y)), self.act(self.v(y))
        left, right = v.chunk(2, dim=-1)
        return torch.cat([q @ k.transpose(1, 2) @ left, k[:, :, ::2] * right], dim=-1)


def _heaviside():
    return Activation("heaviside", "rectangular(-1, 1)")


def _sign():
    return Activation("sign", "rectangular(-1, 1)")


MODELS = {
    "mlp": ((8, 32), [nn.Linear(32, 32), _heaviside(), nn.Linear(32, 16), _sign(), nn.Linear(16, 4)]),
    "user's own step": ((8, 32), [nn.Linear(32, 32), _StraightThrough(), nn.Linear(32, 4)]),
    "step by addition": ((8, 32), [nn.Linear(32, 32), _ByAddition(), nn.Linear(32, 4)]),
    "sequence": ((4, 6, 16), [nn.Linear(16, 16), _sign(), nn.Linear(16, 4)]),
    "one vector": ((64,), [nn.Linear(64, 64), _sign(), nn.Linear(64, 4)]),
    "conv1d": ((4, 3, 20), [nn.Conv1d(3, 8, 3), _heaviside(), nn.Conv1d(8, 4, 3, stride=2)]),
    "conv2d": ((4, 3, 9, 9), [nn.Conv2d(3, 8, 3), _sign(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(100, 4)]),
    "conv3d": ((2, 3, 6, 6, 6), [nn.Conv3d(3, 4, 3), _heaviside(), nn.Conv3d(4, 2, 3)]),
    "grouped": ((4, 8, 9, 9), [nn.Conv2d(8, 8, 3, groups=8), _sign(), nn.Conv2d(8, 4, 3, groups=2, dilation=2)]),
    "transposed": ((2, 3, 7, 7), [nn.ConvTranspose2d(3, 4, 3), _sign(), nn.ConvTranspose2d(4, 4, 3, stride=2)]),
    "pools": ((2, 3, 12, 12), [_heaviside(), nn.Conv2d(3, 4, 3), _sign(), nn.MaxPool2d(2), _sign(), nn.AvgPool2d(2)]),
    "batch norm": ((8, 32), [nn.Linear(32, 32), nn.BatchNorm1d(32), _heaviside(), nn.Linear(32, 4)]),
    "dropout": ((8, 32), [nn.Linear(32, 32), _heaviside(), nn.Dropout(0.2), nn.Linear(32, 4)]),
    "recurrent": ((4, 6, 16), [nn.Linear(16, 16), _sign(), nn.GRU(16, 8)]),
    "attention": ((2, 6, 32), [_Attention()]),
}


def _model(name, dtype):
    torch.manual_seed(0)
    shape, layers = MODELS[name]
    model = nn.Sequential(*copy.deepcopy(layers)).to(dtype)
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return model, torch.randn(shape, dtype=dtype)


def _gradients(model, x, context=None, run=None):
    """Of all parameters and the input, from a copy of ``model``."""
    model = copy.deepcopy(model)
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    torch.manual_seed(7)
    with context or contextlib.nullcontext():
        out = (run or (lambda module, value: module(value)))(model, x)
        out = out[0] if isinstance(out, tuple) else out
        loss = out.double().sin().sum()
    loss.backward()
    return [x.grad] + [parameter.grad for parameter in model.parameters()]


def _assert_same(one, other):
    assert len(one) == len(other)
    for left, right in zip(one, other, strict=True):
        assert left.abs().sum() > 0
        assert torch.equal(left, right)
        assert left.stride() == right.stride()


def _packing():
    return packed_activations(min_elements=1)


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_without_it(name, dtype):
    model, x = _model(name, dtype)
    with _packing() as packed:
        inside = _gradients(model, x)
    assert packed.tensors > 0
    _assert_same(inside, _gradients(model, x))


@pytest.mark.parametrize("name", ["conv2d", "grouped", "transposed", "pools"])
def test_gradients_of_channels_last_networks(name):
    model, x = _model(name, torch.float32)
    model, x = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
    with _packing() as packed:
        inside = _gradients(model, x)
    assert packed.tensors > 0
    _assert_same(inside, _gradients(model, x))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["mlp", "conv2d"])
def test_autocast_copies_are_packed_too(name, dtype):
    model, x = _model(name, torch.float32)

    def run(module, value):
        with torch.autocast("cpu", dtype=dtype):
            return module(value)

    with _packing() as packed:
        inside = _gradients(model, x, run=run)
    assert packed.bytes_packed > 0
    _assert_same(inside, _gradients(model, x, run=run))


def test_packed_values_are_those_at_the_time_they_were_saved():
    model, x = _model("mlp", torch.float32)

    def changing(module, value):
        y = (value > 0).float()
        out = module(y)
        y.add_(1)
        return out + value.sum()

    def not_changing(module, value):
        return module((value > 0).float()) + value.sum()

    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        _gradients(model, x, run=changing)
    _assert_same(_gradients(model, x, _packing(), changing), _gradients(model, x, run=not_changing))


@pytest.mark.parametrize("context", [contextlib.nullcontext, packed_activations], ids=["without", "inside"])
@pytest.mark.parametrize("which", ["activation", "weight"])
def test_a_change_of_what_is_not_packed_raises_as_ever(which, context):
    layer, z = nn.Linear(64, 64), torch.randn(64, 64, requires_grad=True)
    h = 2 * z
    with context():
        loss = layer(h).sum()
    with torch.no_grad():
        (h if which == "activation" else layer.weight).add_(1)
    with pytest.raises(
        RuntimeError, match="one of the variables needed for gradient computation has been modified by an in"
    ):
        loss.backward()


@pytest.mark.parametrize("context", [contextlib.nullcontext, packed_activations], ids=["without", "inside"])
def test_a_parameter_given_new_data_is_seen_with_it(context):
    weight, x = nn.Parameter(torch.ones(64, 64)), torch.randn(64, 64, requires_grad=True)
    with context():
        loss = (x @ weight).sum()
    weight.data = torch.full((64, 64), 2.0)
    loss.backward()
    assert torch.equal(x.grad, torch.full((64, 64), 128.0))


def test_second_derivatives():
    def penalised(context):
        torch.manual_seed(0)
        z = torch.randn(16, 32, requires_grad=True)
        first, second = nn.Linear(32, 32), nn.Linear(32, 4)
        with context:
            loss = second(torch.tanh(first(_Step.apply(z)))).square().sum()
            (slope,) = torch.autograd.grad(loss, z, create_graph=True)
            (loss + slope.square().sum()).backward()
        return [z.grad, first.weight.grad, second.weight.grad]

    with _packing() as packed:
        _assert_same(penalised(contextlib.nullcontext()), penalised(contextlib.nullcontext()))
    assert packed.tensors >= 2
    _assert_same(penalised(_packing()), penalised(contextlib.nullcontext()))


def test_two_backward_passes_and_batches_of_them():
    y, weight = torch.randn(64, 64).sign(), torch.randn(64, 64, requires_grad=True)
    with packed_activations() as packed:
        out = (y @ weight).sum(0)
    assert packed.tensors == 1
    plain = (y @ weight).sum(0)
    for _ in range(2):
        (one,) = torch.autograd.grad(out, weight, torch.eye(64), is_grads_batched=True, retain_graph=True)
        (other,) = torch.autograd.grad(plain, weight, torch.eye(64), is_grads_batched=True, retain_graph=True)
        assert torch.equal(one, other)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_inside_and_around(reentrant):
    model, x = _model("mlp", torch.float32)
    counts = []

    def inside(module, value):
        with _packing() as packed:
            out = checkpoint(module, _Step.apply(value), use_reentrant=reentrant)
        counts.append(packed.tensors)
        return out

    def packing(module, value):
        with _packing() as packed:
            out = module(_Step.apply(value))
        counts.append(packed.tensors)
        return out

    def around(module, value):
        return checkpoint(packing, module, value, use_reentrant=reentrant)

    expected = _gradients(model, x, run=lambda module, value: module(_Step.apply(value)))
    _assert_same(_gradients(model, x, run=inside), expected)
    assert counts == [1], "its input"
    counts.clear()
    _assert_same(_gradients(model, x, run=around), expected)
    assert counts == ([0, 3] if reentrant else [3]), "a reentrant one saves nothing until the backward pass"


def test_the_innermost_hooks_apply():
    model, x = _model("mlp", torch.float32)
    seen = []
    outermost = saved_tensors_hooks(lambda tensor: seen.append(tensor) or tensor, lambda tensor: tensor)
    with outermost, _packing() as outer, _packing() as inner:
        loss = model(x).sum()
    assert (seen, outer.tensors, inner.tensors > 0) == ([], 0, True)
    loss.backward()
    with _packing() as packed, save_on_cpu():
        model(x).sum().backward()
    assert packed.tensors == 0


def _packs():
    y = torch.randn(2048).sign()
    product = y * torch.ones(2048, requires_grad=True)
    return product.grad_fn._saved_self.data_ptr() != y.data_ptr()


def test_after_an_error_inside_nothing_is_packed():
    with pytest.raises(ZeroDivisionError), packed_activations():
        _ = 1 / (_packs() - 1)
    assert not _packs()


def test_as_a_decorator_also_of_what_calls_itself_or_runs_in_threads():
    @packed_activations()
    def nested(depth):
        return _packs() and (depth == 0 or nested(depth - 1)) and _packs()

    assert nested(3)
    assert not _packs()
    context, results = packed_activations(), []
    barrier = threading.Barrier(2, timeout=60)

    def worker():
        with context:
            barrier.wait()
            inside = _packs()
        barrier.wait()
        results.append((inside, _packs()))

    workers = [threading.Thread(target=worker) for _ in range(2)]
    for thread in workers:
        thread.start()
    for thread in workers:
        thread.join()
    assert results == [(True, False)] * 2


def test_threads_started_inside_are_outside_and_may_run_the_backward_pass():
    model, x = _model("mlp", torch.float32)
    expected, results = _gradients(model, x), []
    with _packing():
        out = model(x).double().sin().sum()
        for target in (lambda: results.append(_packs()), out.backward):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert results == [False]
    _assert_same([parameter.grad for parameter in model.parameters()], expected[1:])


def test_without_gradients_nothing_is_saved():
    model, x = _model("mlp", torch.float32)
    for context in (torch.no_grad, torch.inference_mode):
        with _packing() as packed, context():
            model(x)
        assert packed.tensors == 0


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_around_a_compiled_network():
    model, x = _model("mlp", torch.float32)
    torch._dynamo.reset()
    compiled = torch.compile(lambda module, value: module(value), fullgraph=True, backend="aot_eager")
    with _packing() as packed:
        inside = _gradients(model, x, run=compiled)
    assert packed.tensors >= 2
    _assert_same(inside, _gradients(model, x))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_inside_a_compiled_function_it_is_refused_or_breaks_the_graph():
    model, x = _model("mlp", torch.float32)
    expected, counts, graphs = _gradients(model, x), [], []

    def run(module, value):
        with _packing() as packed:
            out = module(value)
        counts.append(packed.tensors)
        return out

    def backend(graph, _):
        graphs.append(graph.code)
        return graph

    torch._dynamo.reset()
    with pytest.raises((TransformError, torch._dynamo.exc.Unsupported), match="Put it around the call"):
        torch.compile(run, fullgraph=True, backend=backend)(model, x)
    torch._dynamo.reset()
    _assert_same(_gradients(model, x, run=torch.compile(run, backend=backend)), expected)
    assert counts == [2]
    assert graphs, "what is inside is still compiled"
    assert not any("int32" in graph for graph in graphs), "but not the packing"


def test_function_transforms_refuse_or_agree():
    x, weight = torch.randn(10, 64), torch.randn(32, 64, requires_grad=True)
    with packed_activations(), pytest.raises(RuntimeError, match="saved tensor hooks"):
        torch.func.grad(lambda w: F.linear(x.sign(), w).sum())(weight)

    def gradient(context):
        with context:
            out = torch.func.vmap(lambda row: F.linear(row.sign(), weight))(x)
        return torch.autograd.grad(out.sin().sum(), weight)[0]

    assert torch.equal(gradient(_packing()), gradient(contextlib.nullcontext()))


@pytest.mark.parametrize(("value", "error"), [(0, RuleValueError), (1.5, RuleTypeError), (True, RuleTypeError)])
def test_wrong_arguments_are_refused_at_once(value, error):
    with pytest.raises(error, match=f"min_elements.*{value}"):
        packed_activations(min_elements=value)
