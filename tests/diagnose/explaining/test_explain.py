"""``explain`` reports what a model keeps and does.

Judges: bytes counted by hand, the autograd graph read node by node (``explain`` listens to hooks instead), PyTorch's
own modules, and masks written out here.
"""

import copy
import dataclasses
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

import tieless
from tieless import Activation, explain, untie
from tieless.diagnose.slopes.gate import gate_of
from tieless.errors import RuleTypeError, RuleValueError
from tieless.models import build_model, models

FLOAT = 4


def kept_in_graph(output, model, x):
    """Bytes of the storages that the graph of ``output`` keeps, what is there anyway left out, by reading it."""
    state = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers(), x)}
    sizes, nodes, seen = {}, [output.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        nodes += [following for following, _ in node.next_functions]
        saved = [getattr(node, name) for name in dir(node) if name.startswith("_saved_")]
        saved += getattr(node, "saved_tensors", ())
        for tensor in saved:
            if not isinstance(tensor, torch.Tensor) or (tensor.dim() == 0 and tensor.dtype == torch.float64):
                continue  # a Python number in a product is no tensor of the model's
            if tensor.untyped_storage().data_ptr() not in state:
                sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
    return sum(sizes.values())


def net(*activations):
    """A hidden layer for each activation: 16 numbers in, 8 out."""
    layers, features = [], 16
    for activation in activations:
        layers += [nn.Linear(features, 32), activation]
        features = 32
    return nn.Sequential(*layers, nn.Linear(features, 8))


def test_bytes_counted_by_hand():
    model = net(Activation("heaviside", "rectangular"), Activation("relu", "constant"), Activation("elu", "triangular"))
    found = explain(model, torch.randn(64, 16))
    hidden = 64 * 32 * FLOAT
    step, straight, triangle = (activation.run for activation in found.activations)
    assert (step.kept_bytes, step.own_bytes) == (64 * 32 // 8, 64 * 32 // 8)
    assert (straight.kept_bytes, straight.own_bytes) == (0, 0)
    assert (triangle.kept_bytes, triangle.own_bytes) == (hidden, hidden)
    # Each linear layer keeps its input: the batch, which is not counted, then what the activation below has made.
    assert found.run.kept_bytes == 3 * hidden + step.kept_bytes + triangle.kept_bytes
    # Natively: the inputs of step and elu; relu keeps its output, which the next layer keeps anyway.
    assert found.run.native_bytes == 3 * hidden + 2 * hidden


def test_an_output_that_the_next_layer_keeps_too_is_kept_but_not_its_own():
    found = explain(net(Activation("tanh", "tied")), torch.randn(64, 16))
    run = found.activations[0].run
    assert (run.kept_bytes, run.own_bytes) == (64 * 32 * FLOAT, 0)
    assert found.run.kept_bytes == found.run.native_bytes == 64 * 32 * FLOAT


@pytest.mark.parametrize("name", sorted(models()))
@pytest.mark.parametrize(
    ("forward", "rule"),
    [
        ("heaviside", "rectangular"),
        ("relu", "tied"),
        ("gelu", "tied"),
        ("tanh", "triangular"),
        ("relu", "positive_jam"),
    ],
)
def test_the_sum_is_what_the_graph_keeps(name, forward, rule):
    x = torch.rand(8, 1, 28, 28)
    if name in {"gpt", "gru"}:
        x = torch.randint(2, (8, 9))
    elif name.startswith("series"):
        x = torch.rand(8, 1, 40)
    model = build_model(name, forward, rule, features=x[0].numel(), classes=2)
    assert explain(model, x).run.kept_bytes == kept_in_graph(model(x), model, x)


@pytest.mark.parametrize(
    ("forward", "module"),
    [
        ("elu(0.5)", nn.ELU(0.5)),
        ("gelu", nn.GELU()),
        ("hard_sigmoid", nn.Hardsigmoid()),
        ("hard_tanh", nn.Hardtanh()),
        ("leaky_relu(0.1)", nn.LeakyReLU(0.1)),
        ("logistic", nn.Sigmoid()),
        ("relu", nn.ReLU()),
        ("relu6", nn.ReLU6()),
        ("silu", nn.SiLU()),
        ("softplus", nn.Softplus()),
        ("tanh", nn.Tanh()),
        (F.mish, nn.Mish()),
    ],
)
@pytest.mark.parametrize("rule", ["tied", "constant"])
def test_the_native_model_keeps_what_pytorchs_own_modules_keep(forward, module, rule):
    x, own = torch.randn(64, 16), net(module, module)
    found = explain(net(Activation(forward, rule), Activation(forward, rule)), x)
    assert found.run.native_bytes == kept_in_graph(own(x), own, x)
    assert not any(activation.flat for activation in found.activations)


@pytest.mark.parametrize("forward", ["heaviside", "sign", "ternary", "round", "staircase(4)", "square_wave"])
def test_natively_a_flat_forward_keeps_its_input(forward):
    found = explain(net(Activation(forward, "constant")), torch.randn(64, 16))
    assert found.activations[0].flat
    assert found.run.native_bytes == 2 * 64 * 32 * FLOAT
    assert re.search(rf"for {re.escape(forward)}\S*, which PyTorch cannot train", str(found))


def everywhere(z):
    return torch.ones_like(z, dtype=torch.bool)


def nowhere(z):
    return torch.zeros_like(z, dtype=torch.bool)


@pytest.mark.parametrize("size", [1, 7, 64])
@pytest.mark.parametrize(
    ("forward", "rule", "passes"),
    [
        ("heaviside", "rectangular(-0.25, 0.75)", lambda z: (z >= -0.25) & (z <= 0.75)),
        ("relu", "tied", lambda z: z > 0),
        ("relu", "triangular(0.5)", lambda z: z.abs() < 0.5),
        ("gelu", "positive_jam", lambda z: z >= 0),
        ("gelu", "full_jam >> centralize", everywhere),
        ("sign", "frozen", nowhere),
        ("relu", "rectangular(-1, 1) >> noise(0.1) >> positive_jam", lambda z: (z >= 0) & (z <= 1)),
        ("relu", 'positive_jam(gate="feedback")', everywhere),
    ],
)
def test_fired_is_the_fraction_of_elements_in_the_gate(forward, rule, passes, size):
    model = net(Activation(forward, rule))
    x = torch.randn(size, 16)
    run = explain(model, x).activations[0].run
    z = model[0](x)
    assert (run.calls, run.elements) == (1, size * 32)
    assert run.fired == passes(z).sum().item() / z.numel()


@pytest.mark.parametrize(
    ("forward", "rule", "bits"),
    [
        ("heaviside", "constant", 0),
        ("heaviside", "frozen", 0),
        ("relu", "full_jam", 0),
        ("relu", "tied", 1),
        ("sign", "rectangular", 1),
        ("silu", "positive_jam", 1),
        ("tanh", "triangular", 32),
        ("gelu", "tied", 32),
    ],
)
@pytest.mark.parametrize("inputs", [(), (torch.randn(5, 16),)], ids=["alone", "with inputs"])
def test_bits_of_an_element_do_not_depend_on_how_many_there_are(forward, rule, bits, inputs):
    (activation,) = explain(net(Activation(forward, rule)), *inputs).activations
    assert activation.bits_per_element == bits
    assert activation.bytes_per_call in (0, 8)  # a key, where it is kept as a tensor


class Scaled(Activation):
    """A user's activation, whose output is shifted by a learnt number: 25 floats more a call, however many elements."""

    def __init__(self, forward, backward):
        super().__init__(forward, backward)
        self.weight = nn.Parameter(torch.ones(25))

    def forward(self, z):
        return super().forward(z) + (2 * self.weight).square().sum()


def test_what_a_call_keeps_beside_the_elements_is_told_apart():
    found = explain(net(Scaled("heaviside", "rectangular")))
    assert (found.activations[0].bits_per_element, found.activations[0].bytes_per_call) == (1, 25 * FLOAT)
    assert "Beside the bits, a call keeps 100 B" in str(found)


@pytest.mark.parametrize("inputs", [(), (torch.randn(5, 16, dtype=torch.bfloat16),)], ids=["alone", "with inputs"])
def test_bits_are_those_of_the_dtype_in_use(inputs):
    (activation,) = explain(net(Activation("gelu", "tied")).bfloat16(), *inputs).activations
    assert (activation.dtype, activation.bits_per_element) == ("bfloat16", 16)


def test_under_autocast_the_activation_is_seen_in_the_lower_dtype():
    with torch.autocast("cpu", torch.bfloat16):
        (activation,) = explain(net(Activation("gelu", "tied")), torch.randn(5, 16)).activations
    assert (activation.dtype, activation.bits_per_element) == ("bfloat16", 16)


def test_names_specs_and_gates_are_the_models():
    model = nn.Module()
    model.body = net(Activation("heaviside", "rectangular"))
    model.head = Activation("relu", tieless.PositiveJam())
    rows = [(a.name, a.forward, a.backward, a.gate) for a in explain(model).activations]
    assert rows == [
        ("body.1", "heaviside", "rectangular(-0.5, 0.5)", "-0.5 <= z <= 0.5"),
        ("head", "relu", "positive_jam", "z >= 0"),
    ]


class Twice(nn.Module):
    """One activation called twice, and one not at all."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)
        self.act, self.spare = Activation("heaviside", "rectangular"), Activation("relu", "tied")

    def forward(self, x):
        return self.act(self.second(self.act(z=self.first(x))))


def test_calls_of_one_module_are_summed():
    found = explain(Twice(), torch.randn(64, 16))
    act, spare = (activation.run for activation in found.activations)
    assert (act.calls, act.elements, act.kept_bytes) == (2, 2 * 64 * 16, 2 * 64 * 16 // 8)
    assert (spare.calls, spare.elements, spare.kept_bytes, spare.fired) == (0, 0, 0, None)
    assert "Called more than once, and summed: act (2 times)." in str(found)
    assert "Not called: spare." in str(found)


class Functional(nn.Module):
    """``untie`` called by itself beside an activation."""

    def __init__(self, rule):
        super().__init__()
        self.linear, self.act, self.rule = nn.Linear(16, 32), Activation("relu", "constant"), rule

    def forward(self, x):
        y = self.act(self.linear(x))
        return y if self.rule is None else untie(y, "sign", self.rule)


@pytest.mark.parametrize(("rule", "kept"), [("rectangular", 64 * 32 // 8), ("constant", 0), (None, None)])
def test_untie_called_by_itself_is_counted_and_said(rule, kept):
    gate_of.__wrapped__.cache_clear()  # what explain itself sends through rules to find gates is not the model's doing
    model, x = Functional(rule), torch.randn(64, 16)
    found = explain(model, x)
    assert found.run.untie_bytes == kept
    assert len(found.activations) == 1
    assert ("untie is called by itself" in str(found)) == (kept is not None)
    assert found.run.kept_bytes == kept_in_graph(model(x), model, x) == (kept or 0)
    assert found.run.native_bytes == 64 * 32 * FLOAT + (kept or 0)  # relu's output


def test_what_a_forward_makes_and_drops_is_not_kept():
    class Wasteful(nn.Sequential):
        def forward(self, x):
            (x.clone().requires_grad_().exp() * 2).sum().sigmoid()
            return super().forward(x)

    x = torch.randn(64, 16)
    plain, wasteful = net(Activation("relu", "tied")), Wasteful(*net(Activation("relu", "tied")))
    assert explain(wasteful, x).run == explain(plain, x).run


def test_a_checkpoint_in_the_model_keeps_its_inputs_only():
    class Checkpointed(nn.Sequential):
        def forward(self, x):
            return checkpoint(super().forward, x, use_reentrant=False)

    found = explain(Checkpointed(*net(Activation("gelu", "tied"))), torch.randn(64, 16))
    assert (found.run.kept_bytes, found.activations[0].run.kept_bytes) == (0, 0)
    assert found.activations[0].bits_per_element == 32


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # of importing the compiler
def test_a_compiled_model_is_measured_without_the_compiler():
    model, x = net(Activation("heaviside", "rectangular")), torch.randn(64, 16)
    plain, compiled = explain(model, x), explain(torch.compile(model), x)
    assert compiled.run == plain.run
    assert [a.run for a in compiled.activations] == [a.run for a in plain.activations]


def test_keywords_and_collections_are_inputs_too():
    class Paired(nn.Sequential):
        def forward(self, pair, *, scale):
            return super().forward(pair[0] * scale["by"] + pair[1])

    x, scale = torch.randn(64, 16), torch.ones(16, requires_grad=True)
    found = explain(Paired(*net(Activation("relu", "tied"))), (x, x.clone()), scale={"by": scale})
    # The gradient of the scale needs the first of the pair, the linear layers their own inputs: sum and relu's output.
    assert found.run.kept_bytes == 64 * 16 * FLOAT + 64 * 32 * FLOAT + 64 * 32 // 8


def test_a_batch_that_is_a_view_of_all_data_counts_no_more_than_a_copy():
    model, data = net(Activation("relu", "tied")), torch.randn(10_000, 16)
    assert explain(model, data[:64]).run == explain(model, data[:64].clone()).run


def test_without_inputs_bytes_are_left_out_and_it_says_how_to_get_them():
    found = explain(net(Activation("relu", "tied")))
    assert found.run is None
    assert found.activations[0].run is None
    assert "explain(model, x)" in str(found)
    assert "kept " not in str(found).splitlines()[0]


def test_the_table_has_a_row_for_each_activation_in_columns():
    found = explain(net(Activation("heaviside", "rectangular"), Activation("relu", "constant")), torch.randn(64, 16))
    header, *rows = str(found).split("\n\n")[0].splitlines()
    assert header.split("  ")[0] == "activation"
    assert [row.split()[0] for row in rows] == ["1", "3"]
    starts = [header.index(title) for title in ("forward", "backward rule", "gate", "bits", "kept", "own", "fired")]
    run = found.activations[0].run
    expected = ["heaviside", "rectangular(-0.5, 0.5)", "-0.5 <= z <= 0.5", "1", "256 B", "256 B", f"{run.fired:.1%}"]
    cells = [rows[0][start:end].strip() for start, end in zip(starts, [*starts[1:], None], strict=True)]
    assert cells == [*expected[:-1], expected[-1].replace("%", " %")]


def test_the_sum_stands_beside_the_native_one():
    x = torch.randn(64, 16)
    last = nn.Sequential(nn.Linear(16, 32), Activation("linear", "triangular"))
    assert "keeps 8.0 KiB from forward to backward, the native model nothing." in str(explain(last, x))
    ours = explain(net(Activation("heaviside", "constant")), x)
    assert "keeps 8.0 KiB from forward to backward, 50.0 % of the 16.0 KiB that the native model keeps." in str(ours)


def test_an_activation_by_itself_is_a_model():
    found = explain(Activation("relu", "tied"), torch.tensor([-1.0, 2.0, 3.0], requires_grad=True))
    assert found.activations[0].run.fired == 2 / 3
    assert "(the model)" in str(found)


def test_what_is_found_is_a_frozen_value():
    found = explain(net(Activation("relu", "tied")), torch.randn(4, 16))
    for record in (found, found.activations[0], found.activations[0].run, found.run):
        assert hash(record) == hash(copy.deepcopy(record))
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(record, dataclasses.fields(record)[0].name, None)


@pytest.mark.parametrize(
    ("model", "error", "says"),
    [
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.GELU()), RuleValueError, r"5 modules.*GELU \(1\), ReLU \(2\)\. Put"),
        (nn.Linear(2, 2), RuleValueError, r"no tieless\.Activation in Linear: 1 module, none an activation"),
        (nn.Sequential(nn.LazyLinear(4), Activation("relu", "tied")), RuleValueError, "lazy layers. Call it once"),
        (torch.relu, RuleTypeError, r"needs a torch\.nn\.Module or a packed network, got <built-in method relu"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_said_in_one_line(model, error, says):
    with pytest.raises(error, match=says) as caught:
        explain(model, torch.randn(4, 2))
    assert "\n" not in str(caught.value)
