"""A converted model is the model that it was: the same objects, keys and hooks; and it goes back to the last bit."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

import tieless as tl
from tieless.errors import ConversionError, UnreachedWarning


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.norm, self.act, self.function = nn.Linear(6, 6), nn.BatchNorm1d(6), nn.ELU(0.5), F.silu

    def forward(self, x):
        return self.function(F.relu(self.act(self.norm(self.linear(x)))) - 0.2)


def net():
    torch.manual_seed(0)
    return nn.Sequential(Block(), nn.Dropout(0.2), nn.GELU(approximate="tanh"), nn.Linear(6, 3))


X = torch.linspace(-3, 3, 48).reshape(8, 6)


def gradients(model):
    torch.manual_seed(0)
    model.zero_grad()
    model(X).square().sum().backward()
    return [p.grad.clone() for p in model.parameters()]


def equal(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def close(one, other):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_objects_hooks_and_modes_stay():
    model = net()
    calls = []
    model[2].register_forward_hook(lambda *_: calls.append("gelu"))
    model[0].register_forward_pre_hook(lambda *_: calls.append("block"))
    model[0].act.eval()
    modules, modes = list(model.modules()), [m.training for m in model.modules()]
    tl.convert(model, backward="full_jam")
    assert all(one is other for one, other in zip(model.modules(), modules, strict=True))
    assert [m.training for m in model.modules()] == modes
    assert isinstance(model[2], nn.GELU)
    model(X)
    assert calls == ["block", "gelu"]
    model.eval()
    tl.revert(model)
    model(X)
    assert calls == ["block", "gelu"] * 2
    assert not any(m.training for m in model.modules())


def test_state_dicts_load_both_ways_strictly():
    model, other = tl.convert(net(), backward="full_jam"), net()
    assert list(model.state_dict()) == list(other.state_dict())
    assert not model.load_state_dict(other.state_dict(), strict=True).missing_keys
    assert not other.load_state_dict(model.state_dict(), strict=True).unexpected_keys
    assert [name for name, _ in model.named_modules()] == [name for name, _ in other.named_modules()]


def test_gradients_after_reverting_are_the_same_bits():
    model = net()
    before = gradients(model)
    tl.convert(model, backward="constant(0.5)")
    assert not equal(gradients(model), before)
    tl.convert(model, {"0.relu@1": "sign"})
    tl.revert(model)
    assert equal(gradients(model), before)
    assert repr(model) == repr(net())
    tl.revert(model)  # nothing is there to be undone
    assert equal(gradients(model), before)


def test_a_second_conversion_replaces():
    once, twice = tl.convert(net(), backward="sign"), tl.convert(net(), backward="constant(0.25)")
    tl.convert(twice, backward="sign")
    assert equal(gradients(twice), gradients(once))
    assert repr(twice) == repr(once)
    assert "ConvertedConverted" not in repr(twice)


def save_and_load(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m)), save_and_load], ids=["copy", "pickle", "save"]
)
def test_copies_are_converted_and_independent(again):
    model = tl.convert(net(), backward="constant(0.5)")
    other = again(model)
    assert equal(gradients(other), gradients(model))
    tl.revert(other)
    assert equal(gradients(other), gradients(net()))
    assert equal(gradients(model), gradients(tl.convert(net(), backward="constant(0.5)")))


def test_a_replica_runs_with_its_own_parameters():
    """As ``nn.DataParallel`` makes it: shallow, with other parameters in the places of the old ones."""
    block = tl.convert(net()[0], backward="constant(0.5)").eval()
    replica = block._replicate_for_data_parallel()
    replica._modules["linear"] = nn.Linear(6, 6)
    expected = copy.deepcopy(tl.revert(copy.deepcopy(block)))
    expected.linear = replica._modules["linear"]
    torch.testing.assert_close(replica(X), expected(X))


def test_functional_calls_and_vmap_go_through():
    model = tl.convert(net(), backward="constant(0.5)").eval()
    parameters = dict(model.named_parameters())

    def loss(parameters, x):
        return torch.func.functional_call(model, parameters, (x[None],)).square().sum()

    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, X)
    close([each[name].sum(0) for name in parameters], gradients(model))


def test_it_compiles_whole():
    model = tl.convert(net(), backward="constant(0.5)").eval()
    torch.compiler.reset()
    close(gradients(torch.compile(model, fullgraph=True, backend="aot_eager")), gradients(model))


def test_distributed_data_parallel_takes_it(tmp_path):
    if not torch.distributed.is_gloo_available():
        pytest.skip("this PyTorch has no gloo")
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    try:
        model = tl.convert(net(), backward="constant(0.5)").eval()
        expected = gradients(model)
        close(gradients(nn.parallel.DistributedDataParallel(model)), expected)
    finally:
        torch.distributed.destroy_process_group()


def test_a_class_that_was_changed_again_is_refused():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x

    class Weighted(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(6))

        def forward(self, x):
            return F.relu(x * self.weight)

    model = tl.convert(nn.Sequential(Weighted()), backward="constant(0.5)")
    parametrize.register_parametrization(model[0], "weight", Double())
    with pytest.raises(ConversionError, match="was changed again, to ParametrizedWeighted"):
        tl.revert(model)
    with pytest.raises(ConversionError, match="was changed again"):
        tl.convert(model, backward="sign")
    parametrize.remove_parametrizations(model[0], "weight")
    assert type(tl.revert(model)[0]) is Weighted


def test_an_object_with_a_forward_of_its_own_is_named():
    model = net()
    for module in (model[0], model[2]):
        module.forward = module.forward
    with pytest.warns(UnreachedWarning, match=r"0: relu@1 \(its forward was exchanged on the object"):
        tl.convert(model, backward="sign")
    done = tl.conversion(model)
    assert [one.name for one in done.left if one.why_left] == ["2"]


def test_a_module_that_pickles_in_its_own_way_says_so():
    class Own(nn.Module):
        def forward(self, x):
            return F.relu(x)

        def __reduce__(self):
            return Own, ()

    model = tl.convert(Own(), backward="sign")
    with pytest.raises(ConversionError, match="Revert the model before that"):
        copy.deepcopy(model)
