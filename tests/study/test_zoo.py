"""The recipes of the zoo: each trains what it says, on images that are made here."""

import dataclasses

import pytest
import torch

from tieless.data.dataset import Dataset
from tieless.models import build_model
from tieless.nn.weights import quantizer_of
from tieless.study import load_study, network, shipped
from tieless.study.running.training import run_trial

RECIPES = [name for name in shipped() if name.startswith("zoo/")]


def _cells(name):
    """One trial for each cell of a recipe."""
    trials = load_study(name, ["seeds=[0]"], check=False).trials
    return [pytest.param(trial, id=f"{name}-{i}") for i, trial in enumerate(trials)]


def _images(spec, **_):
    """Forty images for training, ten for the test: a bright bar whose place tells the class."""
    labels = torch.arange(50) % 10
    x = torch.rand(50, 1, 28, 28, generator=torch.Generator().manual_seed(0)) / 4
    for i, label in enumerate(labels.tolist()):
        x[i, 0, 2 * label + 4 : 2 * label + 6] = 1
    return Dataset(spec, x[:40], labels[:40], x[40:], labels[40:], 10)


@pytest.mark.parametrize("trial", [cell for name in RECIPES for cell in _cells(name)])
def test_each_recipe_trains(trial, monkeypatch):
    built = []

    def build(*args, **kwargs):
        built.append(build_model(*args, **kwargs))
        return built[-1]

    monkeypatch.setattr(network, "load", _images)
    monkeypatch.setattr(network, "build_model", build)
    result = run_trial(dataclasses.replace(trial, epochs=1, batch=20))
    assert result.error is None
    assert result.status == "done"
    few = [layer for layer in built[0].modules() if quantizer_of(layer) is not None]
    assert bool(few) == (trial.weights != "float")
    torch.manual_seed(trial.seed)
    before = build_model(trial.model, trial.forward, trial.backward, features=784, classes=10)
    moved = [
        not torch.equal(old, new)
        for old, new in zip(_latents(before), _latents(built[0]), strict=True)
        if old.dim() > 1
    ]
    assert moved
    assert all(moved)


def _latents(model):
    """Weights by their names, whether or not they are quantised."""
    named = {name.replace("parametrizations.weight.original", "weight"): p for name, p in model.named_parameters()}
    return [named[name] for name in sorted(named)]


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_repeated_over_three_seeds_on_the_real_data(name):
    trials = load_study(name, check=False).trials
    assert {trial.seed for trial in trials} == {0, 1, 2}
    assert {trial.data for trial in trials} == {"fashion-mnist"}
    assert {trial.subset for trial in trials} == {None}


def test_the_recipes_quantise_what_their_names_say():
    counts = {}
    for name in ("zoo/bnn-cnn", "zoo/ternary-cnn", "zoo/k-bit-cnn"):
        trial = load_study(name, ["seeds=[0]"], check=False).trials[0]
        model = build_model(trial.model, trial.forward, trial.backward, features=784, classes=10)
        network.WEIGHTS.read(trial.weights).apply(model)
        layers = [layer for layer in model.modules() if quantizer_of(layer) is not None]
        counts[name] = (len(layers), max(len((layer.weight / layer.weight.abs().max()).unique()) for layer in layers))
        assert sum(p.numel() for p in model.parameters()) <= 500_000
    assert counts == {"zoo/bnn-cnn": (5, 2), "zoo/ternary-cnn": (5, 3), "zoo/k-bit-cnn": (5, 3)}
