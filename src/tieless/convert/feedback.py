"""Feedback weights for the linear layers of an existing model: ``convert_feedback`` and ``revert_feedback``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar, cast

from torch import nn
from torch.nn.parameter import is_lazy

from tieless.convert.converted import Changed, change_class, original_class, restore
from tieless.convert.find import Found
from tieless.convert.select import Entry, choose, listed
from tieless.errors import ConversionError, RuleTypeError
from tieless.feedback import Carrier, Feedback, FeedbackLike, Geometry, TiedFeedback, feedback as feedback_for, key_of
from tieless.nn import FeedbackLayer
from tieless.nn.feedback import CARRIER, TAPS, tap, untap
from tieless.nn.select import Selectors, check_module, linear_layers, selectors
from tieless.nn.weights import inputs_first_class

Model = TypeVar("Model", bound=nn.Module)

_CONVOLUTION = ("forward", "_conv_forward")
_METHODS: dict[type[nn.Module], tuple[str, ...]] = {
    nn.Linear: ("forward",),
    nn.Conv1d: _CONVOLUTION,
    nn.Conv2d: _CONVOLUTION,
    nn.Conv3d: _CONVOLUTION,
}
"""Methods that define the computation of each type of layer. The one of GPT-2 is found without transformers."""

_NAMES = ", ".join(f"nn.{cls.__name__}" for cls in _METHODS)


def convert_feedback(
    model: Model,
    feedback: FeedbackLike | Mapping[Any, FeedbackLike | None],
    *,
    only: Selectors | None = None,
    keep_ends: bool = False,
    seed: int = 0,
) -> Model:
    """Let other weights carry the feedback (incoming gradient) through linear layers; ``revert_feedback`` undoes it.

    For ``y = W x + b`` the gradients of ``W`` and ``b`` remain exact for the incoming gradient (``grad_output``), and
    the gradient passed down is ``B^T`` times the incoming gradient, in place of ``W^T`` times it. ``nn.Linear``,
    ``nn.Conv1d``, ``nn.Conv2d``, ``nn.Conv3d``, the ``Conv1D`` of GPT-2 in transformers, and layers derived from them
    that compute the same are found. All modules remain the same objects; the keys of ``state_dict`` do not change, and
    activations that ``convert`` has untied stay so.

    ``B`` is not stored. It is computed from ``seed``, the layer's name and the shape, so the same call on the same
    network gives the same weights, also when a run is resumed.

    Args:
        model: Model, which is changed and returned. With ``"dfa"`` the error at its output is used: the output is one
            tensor, with its samples in dimension 0.
        feedback: Kind of feedback: ``"fa"``, ``"dfa"``, ``"usf"``, ``"brsf"``, ``"frsf"`` or a ``Feedback``, for all
            layers; or a mapping of selectors (a name or glob, a class, a function ``(name, module) -> bool``) to kinds.
            If several selectors fit, the narrowest counts. ``None`` and ``"tied"`` restore a layer.
        only: Selectors of the layers to convert, if ``feedback`` is one kind for all.
        keep_ends: True if the model's first and last layer stay as they are.
        seed: Seed of the random weights.
    Raises:
        ConversionError: there is no such layer, or a selector fits nothing, or two overlap.
        SpecError, RuleTypeError, RuleValueError: an argument is invalid.
    Source:
        Lillicrap et al. 2016, doi:10.1038/ncomms13276 (fa); Nøkland 2016, arXiv:1609.01596 (dfa); Liao et al. 2016,
        arXiv:1510.05067 (usf, brsf, frsf).
    Example:
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
        >>> tl.convert_feedback(net, {"0": "fa", torch.nn.Linear: "usf"})
        Sequential(
          (0): FeedbackLinear(in_features=4, out_features=8, bias=True, feedback=fa)
          (1): ReLU()
          (2): FeedbackLinear(in_features=8, out_features=2, bias=True, feedback=usf)
        )
    """
    if isinstance(seed, bool) or not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"convert_feedback needs an integer as its seed, got {seed!r}.")
    entries = _entries(feedback, only)
    found = list(_find(check_module(model, "convert_feedback")))
    if not any(one.why_not is None for one in found):
        raise ConversionError(_nothing(model, found))
    choices = choose(found, entries, keep_ends=keep_ends, of="layer", have="feedback weights")
    if not choices:
        raise ConversionError(f"Nothing that is selected can be converted. There are: {listed(found)}.")
    taps = tap(model) if any(kind is not None and kind.direct for _, kind in choices) else None
    for one, kind in choices:
        if kind is None:
            restore(one.module)
            continue
        carrier = Carrier(kind, _geometry(one.module), key_of(seed, one.names[0]))
        attributes: dict[str, object] = {CARRIER: carrier, TAPS: taps if kind.direct else None}
        change_class(one.module, feedback_class(original_class(one.module)), **attributes)
    untap(model)
    return model


def revert_feedback(model: Model) -> Model:
    """Restore the transposed weights in the backward pass of every layer, in place. Untied activations stay untied.

    Raises:
        ConversionError: other code has changed the class of a converted layer since.
    Example:
        >>> tl.revert_feedback(tl.convert_feedback(torch.nn.Linear(3, 2), "fa"))
        Linear(in_features=3, out_features=2, bias=True)
    """
    layers = [one for one in check_module(model, "revert_feedback").modules() if isinstance(one, FeedbackLayer)]
    for layer in layers:
        original_class(layer)  # raises before anything is undone
    for layer in layers:
        restore(layer)
    untap(model)
    return model


@cache
def feedback_class(cls: type[nn.Module]) -> type[nn.Module]:
    """Class that a layer of ``cls`` gets when its feedback is converted."""
    content = {
        "__module__": cls.__module__,
        "__doc__": cls.__doc__,
        "tieless_original": cls,
        "tieless_make": staticmethod(feedback_class),
    }
    return type(f"Feedback{cls.__name__}", (FeedbackLayer, Changed, cls), content)


def _entries(
    feedback: FeedbackLike | Mapping[Any, FeedbackLike | None], only: Selectors | None
) -> list[Entry[Feedback]]:
    if not isinstance(feedback, Mapping):
        kind = _kind(feedback)
        return [Entry(one, kind) for one in selectors("*" if only is None else only)]
    if only is not None:
        raise ConversionError("convert_feedback got a mapping and only=. Say in the mapping which layers are meant.")
    if not feedback:
        raise ConversionError("convert_feedback got an empty mapping. Give it one kind for all, such as 'fa'.")
    return [Entry(one, _kind(value)) for one, value in zip(selectors([*feedback]), feedback.values(), strict=True)]


def _kind(given: FeedbackLike | None) -> Feedback | None:
    kind = None if given is None else feedback_for(given)
    return None if isinstance(kind, TiedFeedback) else kind


def _find(model: nn.Module) -> Iterator[Found]:
    """Linear layers of a model, converted or not."""
    for names, module in linear_layers(model):
        inputs_first = inputs_first_class(module)
        for base, methods in (_METHODS if inputs_first is None else {inputs_first: _METHODS[nn.Linear]}).items():
            if isinstance(module, base):
                own = original_class(module)
                same = all(getattr(own, method) is getattr(base, method) for method in methods)
                why_not = _why_not(module, own, same=same)
                yield Found(names, own.__name__, module, "module", own.__name__, why_not=why_not)


def _why_not(module: nn.Module, cls: type[nn.Module], *, same: bool) -> str | None:
    if "forward" in vars(module):
        return "its forward was exchanged on the object, as hooks of some libraries do"
    if not same:
        return "its forward is its own"
    if cls.__name__ == "NonDynamicallyQuantizableLinear":
        return "nn.MultiheadAttention reads its weights and does not call it"
    if any(is_lazy(parameter) for parameter in module.parameters(recurse=False)):
        return "it has no weights before the model has seen a batch"
    return None


def _nothing(model: nn.Module, found: Sequence[Found]) -> str:
    name = original_class(model).__name__
    if found:
        beside = "; ".join(f"{one.names[0]} ({one.kind}: {one.why_not})" for one in found)
        return f"convert_feedback found nothing to convert in {name}. Out of reach: {beside}."
    kinds = sorted({original_class(module).__name__ for module in model.modules()})
    return f"convert_feedback looks for {_NAMES} and found none in {name}, which has: {', '.join(kinds)}."


def _geometry(layer: nn.Module) -> Geometry:
    if isinstance(layer, nn.Linear):
        return Geometry((layer.out_features, layer.in_features))
    if inputs_first_class(layer) is not None:
        inputs, outputs = cast("nn.Parameter", layer.weight).shape
        return Geometry((outputs, inputs), transposed=True)
    conv = cast("nn.Conv2d", layer)
    window, dilation = tuple(conv.kernel_size), tuple(conv.dilation)
    shape = (conv.out_channels, conv.in_channels // conv.groups, *window)
    if conv.padding == "valid":
        around = [(0, 0)] * len(window)
    elif conv.padding == "same":
        around = [((k - 1) * d // 2, (k - 1) * d - (k - 1) * d // 2) for k, d in zip(window, dilation, strict=True)]
    else:
        around = [(p, p) for p in cast("tuple[int, ...]", conv.padding)]
    simple = conv.padding_mode == "zeros" and all(before == behind for before, behind in around)
    return Geometry(
        shape,
        stride=tuple(conv.stride),
        padding=tuple(before for before, _ in around) if simple else (0,) * len(window),
        dilation=dilation,
        groups=conv.groups,
        # In the order of F.pad: the last dimension first.
        pads=() if simple else tuple(pad for pair in reversed(around) for pad in pair),
        mode="constant" if conv.padding_mode == "zeros" else conv.padding_mode,
    )
