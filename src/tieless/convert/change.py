"""Functions ``convert``, ``conversion`` and ``revert``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any, TypeVar

from torch import nn

from tieless.convert.converted import (
    KEPT,
    Converted,
    ConvertedCall,
    FunctionAttribute,
    change_class,
    original_class,
    restore,
)
from tieless.convert.find import Found, find
from tieless.convert.probe import probe
from tieless.convert.records import Conversion, FoundActivation, Unreached
from tieless.convert.select import (
    Choice,
    Entry,
    Halves,
    HalvesLike,
    choose,
    concerns,
    halves,
    listed,
    whole_types,
)
from tieless.convert.shared import give_back, outside_owners, stand_in
from tieless.errors import ConversionError, RuleTypeError, SharedWarning, UnreachedWarning
from tieless.forwards import ForwardLike, forward as forward_of
from tieless.functional import Pair, pair_of
from tieless.nn import UNTIED_CALLS, calls_of
from tieless.nn.feedback import untap
from tieless.nn.select import Selectors, check_module, selectors
from tieless.rules import RuleLike, rule as rule_of

Model = TypeVar("Model", bound=nn.Module)

Layers = Mapping[Any, HalvesLike] | str | PathLike[str]
"""Selectors with their rules or halves, or the path of a YAML file that has them."""


def convert(
    model: Model,
    layers: Layers | None = None,
    *,
    backward: RuleLike | None = None,
    forward: ForwardLike | None = None,
    only: Selectors | None = None,
    keep_ends: bool = False,
    strict: bool = False,
    example: Sequence[Any] | Mapping[str, Any] | None = None,
) -> Model:
    """Give the activations of a model backward rules (custom gradients), in place; ``revert`` takes them back.

    A backward rule, such as a surrogate gradient or a straight-through estimator, takes the place of the derivative.
    Activations are modules (``nn.ReLU``, those of transformers), functions in attributes
    (``TransformerEncoderLayer.activation``) and calls in the code of modules (``F.relu(x)``, ``x.tanh()``). A call is
    named by its module, its function and a number: ``"block.relu@1"``. Each activation keeps the values of its own
    function, with its parameters and in-place writing, unless ``forward`` exchanges the function. All modules remain
    the same objects, with their hooks, modes and parameters; the keys of ``state_dict`` do not change. An activation
    that other code holds too, such as a global that a second model uses, is exchanged for an object of this model's
    own.

    A selector is a name or glob (``*`` passes dots too), a class (``nn.ReLU`` stands for ``F.relu`` too), or a function
    ``(name, module) -> bool``. If several fit, the narrowest counts: the one whose activations are all among those of
    the others. An activation that was converted before gets its new rule instead of the old one; activations that are
    not selected stay as they are.

    Args:
        model: Model, which is changed and returned.
        layers: Mapping of a selector to a rule, to ``{"forward": ..., "backward": ...}``, or to ``None`` to undo any
            earlier conversion; or the path of a YAML file.
        backward, forward: Halves for all activations that ``layers`` does not select. Without ``forward`` each
            activation keeps its own function.
        only: Selectors of the activations that ``backward`` and ``forward`` are limited to.
        keep_ends: True if the first and the last activation stay as they are, in the order in which the model holds
            them.
        strict: True to raise an error, before anything is changed, if activations cannot be reached; otherwise there is
            a warning.
        example: Arguments for a call of the model, a tuple or a dict. The model then runs once; activations that no
            reading of the code can show are reported too, with step functions that cut off a gradient.
    Raises:
        ConversionError: the model has nothing to convert; a selector fits nothing, or two overlap; shared modules would
            get two rules; with ``strict``, an activation cannot be reached; the model does not run on the example. The
            model is then as it was.
        SpecError, RuleTypeError, RuleValueError, UntrainableError: the halves are invalid, or cannot be combined.
    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> tl.convert(net, backward="full_jam")
        Sequential(
          (0): Linear(in_features=4, out_features=8, bias=True)
          (1): ConvertedReLU(relu, full_jam)
          (2): Linear(in_features=8, out_features=2, bias=True)
        )
    """
    choices, unreached, _ = _plan(model, layers, backward, forward, only, keep_ends, example, "convert")
    if unreached:
        message = (
            f"convert cannot reach {len(unreached)} activation{'s' * (len(unreached) > 1)} of {_name(model)}, which stay "
            f"as they are: {'; '.join(map(str, unreached[:6]))}{'; ...' * (len(unreached) > 6)}."
        )
        if strict:
            raise ConversionError(message)
        warnings.warn(message, UnreachedWarning, stacklevel=2)
    # All that can be refused is refused here, while the model is as it was.
    pairs = [None if chosen is None else _pair(found, chosen) for found, chosen in choices]
    choices = _owned(model, choices)
    for (found, chosen), both in zip(choices, pairs, strict=True):
        if chosen is None or both is None:
            _undo(model, found)
        else:
            _apply(found, chosen, both)
    _leave_fast_paths(model)
    return model


def conversion(
    model: nn.Module,
    layers: Layers | None = None,
    *,
    backward: RuleLike | None = None,
    forward: ForwardLike | None = None,
    only: Selectors | None = None,
    keep_ends: bool = False,
    example: Sequence[Any] | Mapping[str, Any] | None = None,
) -> Conversion:
    """Report of a conversion with the same arguments, which is not done; without any, of conversions that were done.

    Returns:
        Record that prints as a table of counts.
    Raises:
        ConversionError: as from ``convert``.
    Example:
        >>> net = tl.convert(torch.nn.Sequential(torch.nn.ReLU(), torch.nn.GRU(2, 2)), {"0": "full_jam"})
        >>> print(tl.conversion(net))
        activation  before  converted  left
        relu        1       1          0
        all         1       1          0
        <BLANKLINE>
        unreached: 1: sigmoid and tanh of nn.GRU (they are computed inside one fused kernel)
        unreached: nothing more that reading shows; with example= a run is looked at too
    """
    if layers is None and backward is None and forward is None and only is None:
        found, unreached = find(check_module(model, "conversion"))
        chosen: dict[int, Halves | None] = {}
        if example is not None:
            unreached = _probed(model, found, unreached, example)
    else:
        choices, unreached, found = _plan(model, layers, backward, forward, only, keep_ends, example, "conversion")
        chosen = {id(one): given for one, given in choices}
    records = [_record(one, chosen[id(one)], changes=True) if id(one) in chosen else _record(one) for one in found]
    return Conversion(
        _name(model),
        tuple(record for record in records if record.backward is not None),
        tuple(record for record in records if record.backward is None),
        tuple(unreached),
        ran=example is not None,
    )


def revert(model: Model) -> Model:
    """Undo every conversion of a model, also of its feedback weights, in place.

    Each module gets back the class and the attributes that it had.

    Raises:
        ConversionError: other code has changed the class of a converted module since.
    Example:
        >>> tl.revert(tl.convert(torch.nn.Sequential(torch.nn.ReLU()), backward="full_jam"))
        Sequential(
          (0): ReLU()
        )
    """
    modules = list(check_module(model, "revert").modules())
    for module in modules:
        original_class(module)  # raises before anything is undone
    for module in modules:
        restore(module)
        give_back(model, module)
    untap(model)
    return model


def _plan(
    model: nn.Module,
    layers: Layers | None,
    backward: RuleLike | None,
    forward: ForwardLike | None,
    only: Selectors | None,
    keep_ends: bool,
    example: Sequence[Any] | Mapping[str, Any] | None,
    who: str,
) -> tuple[list[Choice], list[Unreached], list[Found]]:
    entries = _entries(layers, backward, forward, only, who)
    found, unreached = find(check_module(model, who), whole_types(entries))
    if example is not None:
        unreached = _probed(model, found, unreached, example)
    if not any(one.why_not is None for one in found):
        beside = [f"{one.names[0]} ({one.kind}: {one.why_not})" for one in found] + [str(one) for one in unreached]
        raise ConversionError(
            f"{who} found nothing to convert in {_name(model)}. "
            f"{'Out of reach: ' + '; '.join(beside[:6]) + '; ...' * (len(beside) > 6) if beside else _nothing(example is not None)}."
        )
    choices = choose(found, entries, keep_ends=keep_ends)
    if not choices:
        raise ConversionError(f"Nothing that is selected can be converted. There are: {listed(found)}.")
    return choices, [one for one in unreached if concerns(one, entries)], found


def _nothing(ran: bool) -> str:
    return f"It has no activation{'' if ran else ' that reading its code shows; with example= a run is looked at too'}"


def _entries(
    layers: Layers | None,
    backward: RuleLike | None,
    forward: ForwardLike | None,
    only: Selectors | None,
    who: str,
) -> list[Entry[Halves]]:
    default = None
    if backward is not None:
        default = Halves(None if forward is None else forward_of(forward), rule_of(backward))
    elif forward is not None or only is not None:
        given = "a forward" if forward is not None else "only="
        raise ConversionError(f"{who} got {given} and no backward rule. Give it one, for example backward='full_jam'.")
    entries = [] if layers is None else _layers(layers, default, who)
    if only is not None:
        entries += [Entry(one, default) for one in selectors(only)]
    elif default is not None:
        entries.append(Entry("*", default))
    if not entries:
        raise ConversionError(f"{who} needs a rule: backward='full_jam' for all, or a mapping from layers to rules.")
    return entries


def _layers(layers: Layers, default: Halves | None, who: str) -> list[Entry[Halves]]:
    if isinstance(layers, (str, PathLike)):
        if not str(layers).endswith((".yaml", ".yml")):
            raise ConversionError(f"{layers!r} is no YAML file. A rule for all is given as backward={layers!r}.")
        if default is not None:
            raise ConversionError(f"{who} got a file and a backward rule. Write the rule into {layers}, as backward.")
        # Only files need PyYAML, so it is not loaded with the core.
        from tieless.convert.document import read_file  # noqa: PLC0415

        return read_file(layers)
    if not isinstance(layers, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"{who} needs a mapping from selectors to rules, got {layers!r}.")
    chosen = zip(selectors([*layers]), layers.items(), strict=True)
    return [Entry(one, halves(value, f"{key!r}", default)) for one, (key, value) in chosen]


def _probed(
    model: nn.Module, found: list[Found], unreached: list[Unreached], example: Sequence[Any] | Mapping[str, Any]
) -> list[Unreached]:
    if isinstance(example, Mapping):
        return probe(model, found, unreached, (), example)
    return probe(model, found, unreached, example if isinstance(example, (tuple, list)) else (example,), {})


def _owned(model: nn.Module, choices: list[Choice]) -> list[Choice]:
    """Return the choices, with objects of this model's own in place of activations that other code holds too."""
    changed = {id(one.module): one for one, chosen in choices if chosen is not None and KEPT not in vars(one.module)}
    owners = outside_owners(model, [one.module for one in changed.values()])
    others = [(one, owners[number]) for number, one in changed.items() if number in owners and one.place != "module"]
    if others:
        said = "; ".join(f"{one.names[0]} (in {owner})" for one, owner in others[:6])
        warnings.warn(
            f"What is converted in {_name(model)} is also converted elsewhere, where the same modules are used: {said}"
            f"{'; ...' * (len(others) > 6)}. Copy the model before, if that is not meant.",
            SharedWarning,
            stacklevel=3,
        )
    shared = {number: one for number, one in changed.items() if number in owners and one.place == "module"}
    instead = {number: stand_in(model, one.module) for number, one in shared.items()}
    return [(replace(one, module=instead.get(id(one.module), one.module)), chosen) for one, chosen in choices]


def _pair(found: Found, chosen: Halves) -> Pair:
    assert found.native is not None
    return pair_of(chosen.forward or found.native, chosen.backward)


def _apply(found: Found, chosen: Halves, pair: Pair) -> None:
    module = found.module
    if found.place == "module":
        assert found.cls is not None
        change_class(module, found.cls, tieless_pair=pair)
        return
    assert found.key is not None
    assert found.function is not None
    site = ConvertedCall(found.function, chosen.forward, chosen.backward)
    attributes: dict[str, object] = {}
    if UNTIED_CALLS in vars(module):
        vars(module)[UNTIED_CALLS][found.key] = site
    else:
        attributes[UNTIED_CALLS] = {found.key: site}
    if found.place == "attribute":
        attributes[found.key] = FunctionAttribute(site, found.function)
    change_class(module, found.cls or type(module), **attributes)


def _undo(model: nn.Module, found: Found) -> None:
    """Restore one activation to its original state."""
    if found.now is None:
        return
    module = found.module
    if found.place == "module" or not set(calls_of(module)) - {found.key}:
        restore(module)
        give_back(model, module)
        return
    del vars(module)[UNTIED_CALLS][found.key]
    if found.place == "attribute" and found.key is not None:
        vars(module)[found.key] = vars(module)[KEPT].pop(found.key)


def _leave_fast_paths(model: nn.Module) -> None:
    """Keep PyTorch's encoder from computing its own activation in one kernel in place of a converted one."""
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) and (
            isinstance(vars(module).get("activation"), FunctionAttribute) or isinstance(module.activation, Converted)
        ):
            change_class(module, type(module), activation_relu_or_gelu=0)
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoder) and module.use_nested_tensor:
            layers = [layer for layer in module.layers if isinstance(layer, nn.TransformerEncoderLayer)]
            if not all(layer.activation_relu_or_gelu for layer in layers):
                # The nested tensors of the encoder are for those kernels only.
                change_class(module, type(module), use_nested_tensor=False)


def _record(one: Found, chosen: Halves | None = None, *, changes: bool = False) -> FoundActivation:
    forward = backward = None
    if changes:
        if chosen is not None:
            forward, backward = str(chosen.forward or one.native), str(chosen.backward)
    elif one.now is not None:
        forward, backward = str(one.now.forward_fn), str(one.now.rule)
    return FoundActivation(one.names, one.kind, one.place, one.where, forward, backward, one.why_not)


def _name(model: nn.Module) -> str:
    return original_class(model).__name__
