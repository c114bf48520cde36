"""A program written for freegrad computes here what it computes there, with only its import changed."""

import importlib
import inspect
import sys

import pytest
import torch

from tests.compat.freegrad_programs import PROGRAMS
from tests.conformance.loading import load
from tieless.compat.freegrad import registry


@pytest.fixture
def theirs(monkeypatch):
    """freegrad, importable; what is registered is gone afterwards."""
    modules = load("freegrad")
    if modules is None:
        pytest.skip("freegrad was not fetched: tools/get-peers")
    package = modules[0]
    for module in (*modules, package.registry, package.context, package.wrappers):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    for name in ("transforms", "transforms.basic", "transforms.jamming"):
        module = package
        for part in name.split("."):
            module = getattr(module, part)
        monkeypatch.setitem(sys.modules, f"freegrad.{name}", module)
    monkeypatch.setattr(package.registry, "_RULES", dict(package.registry._RULES))
    return package


@pytest.fixture(autouse=True)
def _ours(monkeypatch):
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))


@pytest.fixture(autouse=True)
def _float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def run(source, package):
    torch.manual_seed(0)
    names = {"__name__": "program"}
    exec(compile(source.replace("freegrad", package), package, "exec"), names)  # noqa: S102 - programs of ours
    return names["out"]


@pytest.mark.parametrize("source", PROGRAMS.values(), ids=PROGRAMS)
def test_a_program_needs_only_its_import_changed(source, theirs):
    ours, there = run(source, "tieless.compat.freegrad"), run(source, "freegrad")
    assert len(ours) == len(there) > 0
    for one, other in zip(ours, there, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


MODULES = [
    "registry",
    "context",
    "wrappers",
    "functional",
    "hook",
    "transforms",
    "transforms.basic",
    "transforms.jamming",
]


def test_every_module_and_public_name_is_there(theirs):
    for path in MODULES:
        module, ours = sys.modules[f"freegrad.{path}"], importlib.import_module(f"tieless.compat.freegrad.{path}")
        defined = {
            n
            for n, v in vars(module).items()
            if n[0] != "_" and getattr(v, "__module__", "").startswith(module.__name__)
        }
        assert {name for name in defined if not hasattr(ours, name)} == set()
    assert set(theirs.__all__) - set(vars(importlib.import_module("tieless.compat.freegrad"))) == set()
    assert set(theirs.registry._RULES) == set(registry._RULES)


def parameters(function):
    """Names and defaults, without the ``**_`` that swallows typos."""
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.default) for p in found if p.kind is not p.VAR_KEYWORD and p.name != "self"]


def test_every_signature_begins_as_theirs(theirs):
    pairs = [(theirs.registry._RULES[name], registry._RULES[name]) for name in theirs.registry._RULES]
    for path, names in {
        "registry": ["register", "get", "compose"],
        "context": ["use"],
        "wrappers": ["Activation"],
        "functional": ["vjp", "jvp"],
        "hook": ["attach_param_hooks"],
    }.items():
        ours = importlib.import_module(f"tieless.compat.freegrad.{path}")
        pairs += [(getattr(sys.modules[f"freegrad.{path}"], name), getattr(ours, name)) for name in names]
    for their, our in pairs:
        assert parameters(our)[: len(parameters(their))] == parameters(their)
