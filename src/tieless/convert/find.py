"""Search for the activations of a model: in modules, in attributes that hold functions, and in the code of modules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from tieless.convert.code import ClassCode, read_classes
from tieless.convert.converted import (
    EVERY_MODULE,
    KEPT,
    Converted,
    FunctionAttribute,
    converted_class,
    original_class,
    original_forward,
)
from tieless.convert.elementwise import not_one_of_each
from tieless.convert.functions import KINDS, LEFT, STEP, Function, equal_forward, function_of, kind_of_class, step_of
from tieless.convert.outside import activation_of, inside, reason
from tieless.convert.records import Unreached
from tieless.forwards import Forward
from tieless.functional import Pair
from tieless.nn import Activation, LearnableActivation, calls_of


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """One activation, with everything that its conversion changes.

    Args:
        names: Names in the model; more than one if modules share it.
        kind: PyTorch's name, or the name of a class that is not one of PyTorch's.
        module: Activation itself, or the module that calls it.
        place: Relation of ``module`` to the activation.
        where: File and line of a call, else a class.
        key: Key of the call in its module.
        function: Function that is called; ``None`` for modules.
        native: Original function of the activation, as a forward.
        cls: Class that ``module`` gets.
        now: Object that runs the activation if it is converted.
        why_not: Reason why it cannot be converted.
        called: True if a call is made at ``where``; otherwise the function is passed on from there.
    """

    names: tuple[str, ...]
    kind: str
    module: nn.Module
    place: Literal["module", "attribute", "call"]
    where: str
    key: str | None = None
    function: Function | None = None
    native: Forward | None = None
    cls: type[nn.Module] | None = None
    now: Activation | None = None
    why_not: str | None = None
    called: bool = True


@dataclass(slots=True)
class _Search:
    whole: tuple[type[nn.Module], ...]
    codes: dict[type[nn.Module], ClassCode]
    modules: set[int]
    found: list[Found] = field(default_factory=list[Found])
    unreached: list[Unreached] = field(default_factory=list[Unreached])


def find(model: nn.Module, whole: tuple[type[nn.Module], ...] = ()) -> tuple[list[Found], list[Unreached]]:
    """Activations of a model, converted or not, and expressions that look like activations and cannot be reached.

    Args:
        model: Model to search, which is not changed.
        whole: Classes that are activations as a whole, whatever they contain.
    """
    names: dict[int, list[str]] = {}
    modules: dict[int, nn.Module] = {}
    within: set[int] = set()
    for name, module in _named_modules(model):
        names.setdefault(id(module), []).append(name)
        modules[id(module)] = module
    read = {original_class(one): None for one in modules.values() if not isinstance(one, torch.jit.ScriptModule)}
    search = _Search(whole, read_classes(read), set(modules))
    for number, module in modules.items():
        if number not in within and _look(search, module, tuple(names[number])):
            within.update(id(child) for child in module.modules() if child is not module)
    return search.found, search.unreached


def _named_modules(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return cast("Iterator[tuple[str, nn.Module]]", model.named_modules(remove_duplicate=False))


def _look(search: _Search, module: nn.Module, names: tuple[str, ...]) -> bool:
    """Search one module; return True if it is an activation as a whole."""
    if isinstance(module, torch.jit.ScriptModule):
        _miss(search, names, type(module).__name__, "TorchScript has compiled its code")
        return True
    cls = original_class(module)
    if issubclass(cls, (nn.RNNBase, nn.RNNCellBase)) and cls.__module__.startswith("torch."):
        kinds = getattr(module, "nonlinearity", "sigmoid and tanh")
        _miss(search, names, f"{kinds} of nn.{cls.__name__}", "they are computed inside one fused kernel")
        return True
    if found := _whole(search, module, cls, names):
        search.found.append(replace(found, why_not=_PATCHED) if "forward" in vars(module) else found)
        return True
    _attributes(search, module, names)
    _calls(search, module, cls, names)
    return False


_PATCHED = "its forward was exchanged on the object, as hooks of some libraries do"


def _miss(search: _Search, names: tuple[str, ...], what: str, why: str, where: str = "") -> None:
    search.unreached.append(Unreached(names[0], what, why, where))


def _whole(search: _Search, module: nn.Module, cls: type[nn.Module], names: tuple[str, ...]) -> Found | None:
    """Activation that the module is as a whole, if it is one."""
    now = module if isinstance(module, Activation) and KEPT in vars(module) else None
    about: dict[str, Any] = {"names": names, "module": module, "place": "module", "where": cls.__name__, "now": now}
    if issubclass(cls, (Activation, LearnableActivation)):
        if cls.forward not in (Activation.forward, LearnableActivation.forward):
            return Found(kind=cls.__name__, why_not="its forward is its own", **about)
        native = _own_forward(module)
        return Found(kind=str(native), native=native, cls=converted_class(cls), **about)
    kind = kind_of_class(cls)
    if kind is not None:
        parameters = {name: getattr(module, name) for name in KINDS[kind]}
        return Found(kind=kind, native=equal_forward(kind, parameters), cls=converted_class(cls), **about)
    if cls in (nn.PReLU, nn.RReLU):
        return Found(kind=cls.__name__, why_not=LEFT[cls.__name__.lower()], **about)
    if cls.__module__ == "transformers.activations" or issubclass(cls, search.whole) or isinstance(module, Converted):
        return _foreign(search, module, cls, about)
    return None


def _own_forward(module: nn.Module) -> Forward:
    """Forward that one of our modules had before it was converted."""
    if isinstance(module, LearnableActivation):
        return module.setting.forward
    pair: Pair = vars(module).get(KEPT, {}).get("tieless_pair") or vars(module)["tieless_pair"]
    return pair.forward


_TRANSFORMERS = {"SiLUActivation": "silu", "MishActivation": "mish"}


def _foreign(search: _Search, module: nn.Module, cls: type[nn.Module], about: dict[str, Any]) -> Found | None:
    """Activation whose class is not one of PyTorch's."""
    if cls.__name__ == "LinearActivation":
        return None
    function = function_of(vars(module).get("act"))
    if function is not None and cls.__module__ == "transformers.activations":
        native = equal_forward(function.kind, dict(function.parameters))
        return Found(kind=function.kind, native=native, cls=converted_class(cls), **about)
    if cls.__module__ == "transformers.activations" and (kind := _TRANSFORMERS.get(cls.__name__)):
        return Found(kind=kind, native=equal_forward(kind, {}), cls=converted_class(cls), **about)
    if any(True for _ in (*module.parameters(), *module.buffers(), *module.children())) or any(
        isinstance(value, Tensor) for value in vars(module).values()
    ):
        return Found(kind=cls.__name__, why_not="it has tensors or modules of its own", **about)
    native = original_forward(module)
    if issubclass(cls, search.whole) and (why_not := not_one_of_each(native, cls.forward)):
        return Found(kind=cls.__name__, why_not=why_not, **about)
    return Found(kind=cls.__name__, native=native, cls=converted_class(cls), **about)


def _attributes(search: _Search, module: nn.Module, names: tuple[str, ...]) -> None:
    """Functions that are kept in attributes, such as ``TransformerEncoderLayer.activation``."""
    for attribute, value in vars(module).items():
        if attribute in EVERY_MODULE:
            continue
        kept = vars(module).get(KEPT, {}).get(attribute, value) if isinstance(value, FunctionAttribute) else value
        if function := activation_of(kept):
            search.found.append(
                Found(
                    names=tuple(_join(name, attribute) for name in names),
                    kind=function.kind,
                    module=module,
                    place="attribute",
                    where=original_class(module).__name__,
                    key=attribute,
                    function=function,
                    native=equal_forward(function.kind, dict(function.parameters)),
                    now=calls_of(module).get(attribute),
                )
            )
        elif step := step_of(kept):
            _miss(search, names, step, STEP, f"in the attribute {attribute}")
        elif what := inside(kept, search.modules):
            _miss(search, names, ", ".join(what[:6]), reason(kept), f"in the attribute {attribute}")
    hooks = [hook for kind in ("_forward_hooks", "_forward_pre_hooks") for hook in vars(module)[kind].values()]
    for hook in hooks:
        if what := inside(hook, search.modules):
            _miss(search, names, ", ".join(what[:6]), "hooks stay as they are", "in a hook")


def _calls(search: _Search, module: nn.Module, cls: type[nn.Module], names: tuple[str, ...]) -> None:
    """Calls in the code of the module."""
    code = search.codes[cls]
    sites, blind, changed = code.sites, code.blind, None
    if sites:
        try:
            changed = code.rewired
        except Exception as error:  # noqa: BLE001  a metaclass can refuse in as many ways as code can be written
            why = f"no class can be derived from {cls.__name__}: {' '.join(str(error).split())[:120]}"
            blind, sites = (*blind, *(Unreached("", site.key, why) for site in sites)), ()
    if "forward" in vars(module):
        blind, sites = (*blind, *(Unreached("", site.key, _PATCHED) for site in sites)), ()
    search.unreached += [replace(one, name=names[0]) for one in blind]
    for site in sites:
        left = site.why_not is not None
        search.found.append(
            Found(
                names=tuple(_join(name, site.key) for name in names),
                kind=site.function.kind,
                module=module,
                place="call",
                where=site.where,
                key=site.key,
                function=site.function,
                native=None if left else equal_forward(site.function.kind, dict(site.function.parameters)),
                cls=changed,
                now=calls_of(module).get(site.key),
                why_not=site.why_not,
                called=site.called,
            )
        )


def _join(name: str, key: str) -> str:
    return f"{name}.{key}" if name else key
