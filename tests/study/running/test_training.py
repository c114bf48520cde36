"""One trial: the same numbers twice, the numbers of a loop written by hand, and what each ending looks like."""

import dataclasses
import math
import sys

import pytest
import torch
from torch import nn

from tieless.data import is_available, load
from tieless.errors import RuleValueError, StudyError
from tieless.grammar import parse_call
from tieless.models import MLP, build_model
from tieless.study import network
from tieless.study.network import start_of
from tieless.study.running import training
from tieless.study.running.training import run_trial
from tieless.study.settings.optimisers import OPTIMISERS
from tieless.study.trial import Result, Trial

TRIAL = Trial(
    data="digits",
    model="mlp(16, 1)",
    forward="relu",
    backward="tied",
    optimiser="sgd",
    learning_rate=0.1,
    batch=64,
    epochs=3,
    seed=4,
)


def _change(**fields):
    return dataclasses.replace(TRIAL, **fields)


def _numbers(result):
    return [dataclasses.astuple(record)[:4] for record in result.epochs]


@pytest.mark.parametrize(
    "trial",
    [
        TRIAL,
        _change(backward="full_jam", optimiser="adam", learning_rate=1e-3),
        _change(forward="heaviside", backward="positive_jam >> noise(0.1)", subset=300, optimiser="momentum"),
        _change(model="bnn_mlp(16, 1)", forward="sign", backward="rectangular(-1, 1)"),
        _change(data="ones(d=10)", model="suc", forward="logistic", loss="bce"),
    ],
    ids=lambda trial: f"{trial.model}-{trial.backward}",
)
def test_a_trial_gives_the_same_numbers_twice_whatever_was_drawn_before(trial):
    torch.manual_seed(1)
    first = run_trial(trial)
    torch.rand(17)
    second = run_trial(trial)
    assert first.status == "done"
    assert _numbers(first) == _numbers(second)
    assert len(first.epochs) == trial.epochs


def _flushes():
    return bool((torch.tensor([sys.float_info.min], dtype=torch.float64) / 2 == 0).all())


def test_denormal_numbers_are_flushed_for_the_run_and_no_longer():
    threads, seen = torch.get_num_threads(), []

    def look(*_):
        seen.append((_flushes(), torch.get_num_threads()))

    torch.set_num_threads(2)
    try:
        result = run_trial(_change(denormals="flushed", epochs=1), on_step=look)
        kept = run_trial(_change(epochs=1), on_step=look)
        after = _flushes(), torch.get_num_threads()
    finally:
        torch.set_num_threads(threads)
    steps = len(seen) // 2
    assert seen == [(True, 1)] * steps + [(False, 2)] * steps
    assert after == (False, 2)
    assert (result.hardware["threads"], kept.hardware["threads"]) == ("1", "2")


def test_a_compiled_trial_runs_in_a_graph_and_learns_what_the_eager_one_learns():
    trial = _change(epochs=2, subset=200, backward="rectangular(-1, 1)")
    eager = run_trial(trial)
    graphs = torch._dynamo.utils.counters["stats"]
    before = graphs["unique_graphs"]
    compiled = run_trial(dataclasses.replace(trial, compile="inductor"))
    assert compiled.status == "done", compiled.error
    assert graphs["unique_graphs"] > before
    assert [record.train_loss for record in compiled.epochs] == pytest.approx(
        [record.train_loss for record in eager.epochs], rel=1e-4
    )


def test_a_rule_that_changes_is_not_compiled():
    with pytest.raises(StudyError, match=r"compile needs a rule that stays the same, got 'alternate"):
        _change(backward='alternate("tied", "full_jam")', compile="inductor")


def test_a_caller_that_flushes_goes_on_so():
    torch.set_flush_denormal(True)
    try:
        run_trial(_change(denormals="flushed", epochs=1))
        assert _flushes()
    finally:
        torch.set_flush_denormal(False)


def test_a_processor_that_cannot_flush_says_so(monkeypatch):
    monkeypatch.setattr(torch, "set_flush_denormal", lambda _: False)
    result = run_trial(_change(denormals="flushed"))
    assert result.status == "failed"
    assert (
        result.error
        == "StudyError: denormals: this processor cannot flush them. Leave the setting out, or write 'kept'."
    )


def test_another_seed_gives_other_numbers():
    assert _numbers(run_trial(TRIAL)) != _numbers(run_trial(_change(seed=5)))


def test_the_callers_random_state_stays():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    run_trial(_change(backward="full_jam", epochs=1))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_tied_trial_is_the_training_loop_of_a_textbook():
    """Native activations, PyTorch's own loss and optimiser; only data and order are ours."""
    data = load("digits", seed=TRIAL.seed)
    torch.manual_seed(TRIAL.seed)
    net = MLP(64, (16,), 10)
    net[2] = nn.ReLU()
    optimiser = torch.optim.SGD(net.parameters(), lr=TRIAL.learning_rate)
    order = torch.Generator().manual_seed(2**32 + TRIAL.seed)
    expected = []
    for _ in range(TRIAL.epochs):
        for x, labels in data.batches(order, TRIAL.batch):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x), labels).backward()
            optimiser.step()
        with torch.no_grad():
            scores = net(data.test_x)
        accuracy = (scores.argmax(1) == data.test_y).double().mean().item()
        expected.append((nn.functional.cross_entropy(scores, data.test_y).item(), accuracy))
    ours = [(record.test_loss, record.test_accuracy) for record in run_trial(TRIAL).epochs]
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(expected), rtol=1e-4, atol=1e-4)


def test_frozen_learns_in_the_last_layer_only():
    """The hidden layer stays as it was made, and yet the network is better than chance."""
    accuracy = run_trial(_change(backward="frozen", epochs=10)).epochs[-1].test_accuracy
    assert 0.3 < accuracy < run_trial(_change(epochs=10)).epochs[-1].test_accuracy


def test_a_loss_that_is_not_finite_is_a_result():
    result = run_trial(_change(learning_rate=1e30, epochs=5))
    assert result.status == "diverged"
    assert result.error is None
    assert len(result.epochs) < 5
    assert all(math.isfinite(number) for numbers in _numbers(result) for number in numbers)


def test_a_diverged_trial_stops_at_the_step(monkeypatch):
    losses = []
    whole = training.LOSSES["cross_entropy"]

    def mean(outputs, labels):
        losses.append(whole.mean(outputs, labels))
        return losses[-1]

    monkeypatch.setitem(training.LOSSES, "cross_entropy", dataclasses.replace(whole, mean=mean))
    assert run_trial(_change(learning_rate=1e30)).status == "diverged"
    assert [loss.isfinite().item() for loss in losses].count(False) == 1


def test_latent_weights_are_clipped_after_each_step(monkeypatch):
    built = []

    def build(*args, **kwargs):
        built.append(build_model(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr(network, "build_model", build)
    run_trial(_change(model="bnn_mlp(16, 1)", forward="sign", backward="rectangular(-1, 1)", learning_rate=50.0))
    assert max(parameter.abs().max() for parameter in built[0].parameters() if parameter.dim() > 1) == 1


def test_what_raises_is_a_failed_trial_with_its_reason():
    result = run_trial(_change(model="lenet5"))
    assert result.status == "failed"
    assert "images of 28 x 28" in result.error
    assert "\n" not in result.error


def test_one_class_is_seen():
    collapsed = run_trial(_change(learning_rate=1e-12, epochs=1, forward="logistic"))
    assert collapsed.predicted_classes < 10
    assert collapsed.classes == 10
    assert run_trial(_change(epochs=20)).predicted_classes == 10


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_a_single_unit_learns_ones(loss):
    trial = _change(data="ones(d=10)", model="suc", forward="logistic", backward="constant", loss=loss, epochs=30)
    assert run_trial(trial).epochs[-1].test_accuracy > 0.9


def test_squared_error_on_scores_takes_one_hot_targets():
    assert run_trial(_change(loss="mse", epochs=10, learning_rate=0.5)).epochs[-1].test_accuracy > 0.7


def test_epochs_are_told_as_they_finish():
    told = []
    result = run_trial(TRIAL, on_epoch=told.append)
    assert tuple(told) == result.epochs


def test_a_result_knows_where_it_was_made_and_survives_json():
    result = run_trial(_change(epochs=1))
    assert {"python", "torch", "numba", "numpy", "tieless"} <= set(result.versions)
    assert {"device", "processor", "threads"} <= set(result.hardware)
    assert Result.from_dict(result.to_dict()) == result


def test_a_result_tells_of_how_many_test_samples_its_accuracy_is():
    result = run_trial(_change(epochs=1))
    assert result.test_samples == 360  # of digits
    assert result.epochs[0].test_accuracy * 360 == pytest.approx(round(result.epochs[0].test_accuracy * 360))
    assert run_trial(_change(model="lenet5", epochs=1)).test_samples is None, "it failed before it had any"


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "binary"},
        {"weights": "ternary", "schedule": "cosine(warmup=0.2)"},
        {"weights": "k_bit(3)", "schedule": "linear"},
        {"optimiser": "bop(1e-6, 1e-2)", "forward": "sign", "backward": "rectangular(-1, 1)", "learning_rate": 1e-2},
        {"optimiser": "adam(weight_decay=0.01)", "learning_rate": 1e-2},
        {"optimiser": "direction_first", "backward": "full_jam >> gated", "learning_rate": 0.02, "model": "mlp(32, 2)"},
        {"optimiser": "sign_sgd", "learning_rate": 1e-3, "schedule": "linear"},
        {"optimiser": "lion", "learning_rate": 1e-3, "schedule": "linear"},
        {"optimiser": "lars(trust=1)", "learning_rate": 0.02, "schedule": "linear"},
        {"optimiser": "muon", "learning_rate": 1e-2},
        {"init": "orthogonal", "optimiser": "adam", "learning_rate": 1e-2},
    ],
    ids=lambda change: next(iter(change.values())).partition("(")[0],
)
def test_each_way_of_training_learns(change):
    trial = _change(**{"model": 'mlp(32, 2, norm="batch")', "epochs": 10, **change})
    result = run_trial(trial)
    assert result.error is None
    assert result.epochs[-1].test_accuracy > 0.75
    assert _numbers(run_trial(trial)) == _numbers(result)


@pytest.mark.parametrize(
    ("spec", "step"),
    [
        # With g the gradient: the first step, in which an average is g or a part of it.
        ("sign_sgd", lambda _, g: g.sign()),
        ("lion", lambda _, g: g.sign()),
        ("lars(trust=0.5)", lambda w, g: g * 0.5 * w.norm() / g.norm()),
    ],
)
def test_the_optimisers_of_the_library_take_the_published_step(spec, step):
    generator = torch.Generator().manual_seed(0)
    weight = nn.Parameter(torch.randn(4, 5, generator=generator))
    weight.grad = torch.randn(4, 5, generator=generator) * 1e-3
    before = weight.detach().clone()
    OPTIMISERS.build(parse_call(spec)).over([weight], 0.1).step()
    torch.testing.assert_close(before - weight.detach(), 0.1 * step(before, weight.grad))


def test_muon_makes_updates_of_hidden_matrices_orthogonal_and_leaves_the_rest_to_adam():
    """Judged by singular values: about 1 each (0.7 to 1.2), times 0.2 sqrt(40) as arXiv:2502.16982 has it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 5, 1), nn.Conv2d(5, 5, 1), nn.Flatten(), nn.Linear(20, 40), nn.Linear(40, 3))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    for optimiser in OPTIMISERS.build(parse_call("muon")).build(model, 0.1):
        optimiser.step()
    steps = {name: value.detach() - before[name] for name, value in model.named_parameters()}
    values = torch.linalg.svdvals(steps.pop("3.weight")) / (0.1 * 0.2 * math.sqrt(40))
    assert bool((values > 0.6).all() and (values < 1.3).all())
    for name, step in steps.items():  # Adam's first step has one size
        torch.testing.assert_close(step.abs(), torch.full_like(step, 0.1), rtol=1e-2, atol=0, msg=name)
    with pytest.raises(RuleValueError, match="matrices of hidden linear layers, and the model has none"):
        OPTIMISERS.build(parse_call("muon")).check_model(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))


def test_bop_flips_binary_weights_and_leaves_the_ends_to_adam(monkeypatch):
    built = []

    def build(*args, **kwargs):
        built.append(build_model(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr(network, "build_model", build)
    run_trial(_change(model="mlp(16, 2)", optimiser="bop(0, 0.1)", learning_rate=1e-3, epochs=1))
    first, middle, last = [layer for layer in built[0] if isinstance(layer, nn.Linear)]
    assert set(middle.weight.flatten().tolist()) == {-1.0, 1.0}
    for end in (first, last):
        assert len(end.weight.unique()) == end.weight.numel()
    torch.manual_seed(TRIAL.seed)
    before = build_model("mlp(16, 2)", "relu", "tied", features=64, classes=10)
    assert ((before[3].weight >= 0) != (middle.weight > 0)).any()


def test_a_cosine_ends_where_nothing_moves(monkeypatch):
    """The rates that the optimiser has at its steps, against PyTorch's own schedule."""
    rates = []
    real = torch.optim.SGD.step

    def step(self, closure=None):
        rates.append(self.param_groups[0]["lr"])
        return real(self, closure)

    monkeypatch.setattr(torch.optim.SGD, "step", step)
    run_trial(_change(schedule="cosine", batch=300))
    optimiser = torch.optim.Adam([nn.Parameter(torch.zeros(1))], lr=TRIAL.learning_rate)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, T_max=15)
    expected = []
    for _ in range(15):
        expected.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        scheduler.step()
    assert rates == pytest.approx(expected)


def test_rules_take_turns_step_by_step():
    turns = 'alternate("constant(1)", "tied", every=2)'
    seen = []
    result = run_trial(_change(backward=turns), on_step=lambda _, model, __: seen.append(str(model[2].rule)))
    assert result.trial.backward == turns
    assert [seen[step : step + 4] for step in range(0, 8, 4)] == [["constant(1)"] * 2 + ["tied"] * 2] * 2
    plain = {rule: _numbers(run_trial(_change(backward=rule))) for rule in ("tied", "constant(1)")}
    assert _numbers(run_trial(_change(backward='alternate("tied", "tied")'))) == plain["tied"]
    assert _numbers(result) not in plain.values()


def test_a_rule_is_annealed_step_by_step():
    anneal = 'anneal("constant(2)", "constant(0.5)", steps=3)'
    seen = []
    result = run_trial(_change(backward=anneal), on_step=lambda _, model, __: seen.append(model[2].rule.value))
    assert result.status == "done"
    assert seen[:5] == [2.0, 1.5, 1.0, 0.5, 0.5]


def test_who_looks_at_each_step_sees_the_network_before_it_and_changes_nothing():
    seen = []

    def look(step, model, batch):
        seen.append((step, len(batch[1]), model[1].weight.detach().clone()))

    assert _numbers(run_trial(TRIAL, on_step=look)) == _numbers(run_trial(TRIAL))
    steps = math.ceil(1437 / 64)
    assert [step for step, _, _ in seen] == list(range(3 * steps))
    assert [size for _, size, _ in seen[:steps]] == [64] * (steps - 1) + [1437 % 64]
    first, _ = start_of(TRIAL)
    assert torch.equal(seen[0][2], first[1].weight)
    assert not torch.equal(seen[0][2], seen[1][2])


def in_stages(trial, *, damage=lambda state: state):
    """Result of a trial that ends at each checkpoint and goes on later, and the number of its stages."""
    states, result = [b""], None
    while result is None and len(states) <= trial.epochs:
        torch.rand(17)
        result = run_trial(trial, resume=damage(states[-1]), on_checkpoint=lambda state: states.append(state) or False)
    return result, len(states)


def without_times(result):
    epochs = tuple(dataclasses.replace(record, seconds=0.0) for record in result.epochs)
    return dataclasses.replace(result, epochs=epochs, seconds=0.0, started="")


SMALL = {"subset": 300, "epochs": 3}
IMAGES = {"data": "fashion-mnist", "subset": 128, "validation": 0.2, "test": "never"}


@pytest.mark.parametrize(
    "change",
    [
        {"backward": "full_jam >> noise(0.1)", "optimiser": "adam", "schedule": "cosine(warmup=0.2)"},
        {"optimiser": "momentum", "schedule": "linear", "validation": 0.2, "test": "once"},
        {"optimiser": "direction_first", "feedback": "fa", "model": "mlp(16, 2)"},
        {"optimiser": "adam(weight_decay=0.1)", "model": "mlp(16, 2)", "weights": "ternary", "backward": "full_jam"},
        {
            "optimiser": "adam",
            **IMAGES,
            "model": "resnet(depth=8, width=4)",
            "backward": "full_jam",
            "augment": "shift(1) >> flip",
        },
        {"optimiser": "bop(1e-7, 1e-3)", "model": "mlp(16, 3)", "schedule": "cosine"},
        {"optimiser": "muon", "model": "mlp(16, 3)", "init": "gain_matched"},
        {"backward": 'alternate("tied", "full_jam", every=2)', "monitor": 3, "optimiser": "lion"},
        {"backward": 'anneal("atan(2)", "atan(1)", steps=12)', "forward": "heaviside", "optimiser": "lars"},
        {"denormals": "flushed", "optimiser": "sign_sgd", "forward": "bernoulli", "backward": "atan"},
    ],
    ids="-".join,
)
def test_a_trial_in_stages_is_bit_for_bit_one_that_was_never_interrupted(change):
    trial = _change(**{**SMALL, **change})
    if not is_available(trial.data):
        pytest.skip("Fashion-MNIST is not on this machine")
    whole, (staged, stages) = run_trial(trial), in_stages(trial)
    assert whole.status == "done", whole.error
    assert stages == trial.epochs
    assert without_times(staged) == without_times(whole)


def test_a_state_of_another_trial_or_with_damage_is_not_taken():
    states = []
    run_trial(_change(**SMALL, seed=5), on_checkpoint=lambda state: states.append(state) or False)
    for state in (states[0], states[0][:-100], b"no state"):
        begun = []
        result = run_trial(_change(**SMALL), resume=state, on_epoch=begun.append, on_checkpoint=lambda _: True)
        assert len(begun) == 3
        assert without_times(result) == without_times(run_trial(_change(**SMALL)))
