"""Quantise the weights of a model, undo it, clip the latent weights, and replace them by the quantised weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn

from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import ForwardLike
from tieless.nn.select import Selectors, check_module, select_layers
from tieless.nn.weights import (
    LATENT,
    QuantizedLayer,
    QuantizedWeight,
    WeightScale,
    check_outermost,
    check_own_weight,
    inputs_first_class,
    install,
    latent_of,
    quantizer_of,
    uninstall,
)
from tieless.registry import positive_number
from tieless.rules import RuleLike

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def quantize_weights(
    model: ModuleT,
    forward: ForwardLike | QuantizedWeight = "sign",
    backward: RuleLike = "rectangular(-1, 1)",
    *,
    scale: WeightScale = "none",
    unit: float | None = None,
    layers: Selectors | None = None,
    keep_ends: bool = True,
) -> ModuleT:
    """Quantise the weights of chosen layers in place: computed from latent weights, with a gradient of your choice.

    Each chosen layer gets ``QuantizedWeight`` as a parametrization (``torch.nn.utils.parametrize``). The current
    weights become the latent weights: the same parameter object, so an optimiser that has it keeps it. In the
    ``state_dict`` ``weight`` becomes ``parametrizations.weight.original``; a float checkpoint can still be loaded, see
    ``load_float``. In a layer that is quantised already the new parametrization replaces the old one.

    ``layer.weight`` is computed at each use. In-place writes to it (``nn.init``, ``reset_parameters``,
    ``weight.data.copy_``) change the latent weights, and a parameter that is assigned to it becomes them.

    Without arguments the weights become +1 and -1, as in BinaryConnect. The settings of the usual networks::

        BinaryConnect            "sign", "rectangular(-1, 1)"
        XNOR-Net, Bi-Real Net    "sign", "rectangular(-1, 1)", scale="per-channel"
        ternary weights          "ternary(0.7)", "constant", scale="mean", unit=1
        k bits                   QuantizedWeight.from_bits(k)

    Args:
        model: Any module with ``nn.Linear``, ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d`` inside, or the ``Conv1D``
            that transformers has in GPT-2.
        forward: Function of the latent weights: spec, ``Forward``, callable; or a whole ``QuantizedWeight``, which is
            copied for each layer and replaces the next three arguments.
        backward: Backward rule of that forward.
        scale: Scale of the values, as in ``QuantizedWeight``; ``"none"``: the values of ``forward`` themselves.
        unit: Unit of the latent weights, as in ``QuantizedWeight``; ``None``: no unit.
        layers: One or several selectors of layers, as in ``convert``: a name or glob, a class, a function
            ``(name, module) -> bool``; ``None``: all.
        keep_ends: True keeps the model's first and last layer in float, as is usual in the field.
    Returns:
        The model.
    Raises:
        SpecError, RuleTypeError, RuleValueError: an argument is wrong, there is no such layer, or the weight of one is
            no parameter of its own: a parametrization, ``weight_norm`` or pruning computes it, or it is lazy. Nothing
            is changed then.
        UntrainableError: the rule is ``tied`` and the forward is flat almost everywhere.
    Source:
        Courbariaux et al. 2015, arXiv:1511.00363; Rastegari et al. 2016, arXiv:1603.05279, also for the ends in float.
    Example:
        >>> from tieless.models import LeNet5
        >>> from tieless.nn import quantize_weights
        >>> net = quantize_weights(LeNet5(), "sign", "rectangular(-1, 1)", scale="mean")
        >>> [len(net[i].weight.unique()) for i in (0, 3, 7, 9, 11)]
        [150, 2, 2, 2, 840]
    """
    quantizer = (
        forward if isinstance(forward, QuantizedWeight) else QuantizedWeight(forward, backward, scale=scale, unit=unit)
    )
    chosen = select_layers(model, layers, keep_ends=keep_ends)
    # All refusals come here, while the model is unchanged.
    for name, layer in chosen.items():
        if quantizer_of(layer) is not None:
            check_outermost(layer)
        else:
            check_own_weight(layer, name)
    for layer in chosen.values():
        own = copy.deepcopy(quantizer)
        own.transposed = inputs_first_class(layer) is not None
        install(layer, own)
    return model


def _quantized(model: nn.Module, who: str) -> Iterator[nn.Module]:
    for layer in list(check_module(model, who).modules()):
        if quantizer_of(layer) is not None:
            yield layer


def latent_weights(model: nn.Module) -> list[Tensor]:
    """Latent weights of a model: the parameters from which its quantised weights are computed, in the model's order.

    Example:
        >>> from tieless.nn import BinaryLinear, latent_weights
        >>> [tuple(latent.shape) for latent in latent_weights(torch.nn.Sequential(BinaryLinear(3, 2)))]
        [(2, 3)]
    """
    return [latent_of(layer) for layer in _quantized(model, "latent_weights")]


def clip_latent_weights(model: nn.Module, limit: float = 1.0) -> None:
    """Clip the latent weights of a model to [-limit, limit], outside of which a window blocks their gradient.

    ``tieless.optim.clip_after_step`` does the same after each update of an optimiser.

    Args:
        model: Any module; layers with plain weights stay as they are.
        limit: Largest magnitude that is left; above 0.
    Raises:
        RuleTypeError, RuleValueError: the limit is no finite number above 0.
    """
    limit = positive_number("clip_latent_weights: limit", limit)
    with torch.no_grad():
        for latent in latent_weights(model):
            latent.clamp_(-limit, limit)


def load_float(model: nn.Module, state: Mapping[str, Any], *, strict: bool = True) -> tuple[list[str], list[str]]:
    """Load the ``state_dict`` of a float model into a quantised model: the float weights become the latent weights.

    ``model.load_state_dict`` takes such a state as well: a quantised layer takes ``weight`` if there is no
    ``parametrizations.weight.original``. This function expects the names of the float model alone, and reports missing
    and unexpected ones by these names. The ``state_dict`` of a frozen model is one of a float model too.

    Args:
        model: Any module; changed in place.
        state: Tensors by the names that they have in the float model.
        strict: True if a missing or an unexpected name is an error. A tensor of another shape is an error in any case.
    Returns:
        Missing and unexpected names, as ``load_state_dict`` gives them.
    Raises:
        RuleTypeError: the state is no ``state_dict``.
        RuleValueError: a name is missing or unexpected, and ``strict`` is True.
        RuntimeError: from PyTorch, where a tensor has another shape.
    Example:
        >>> from tieless.nn import load_float, quantize_weights
        >>> floats = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)).state_dict()
        >>> net = quantize_weights(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)), keep_ends=False)
        >>> load_float(net, floats)
        <All keys matched successfully>
        >>> bool((net[1].weight == floats["1.weight"].sign()).all())
        True
    """
    check_module(model, "load_float")
    if not isinstance(state, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"load_float needs a state_dict, got {state!r}. Read a file with torch.load first.")
    plain: dict[str, str] = {
        name: name.removesuffix(LATENT) + "weight" for name in model.state_dict() if name.endswith(LATENT)
    }
    found: Any = model.load_state_dict(
        {name: value for name, value in state.items() if name not in plain}, strict=False
    )
    missing = [plain.get(name, name) for name in cast("list[str]", found.missing_keys)]
    unexpected: list[str] = [*found.unexpected_keys, *(name for name in state if name in plain)]
    if strict and (missing or unexpected):
        said = [f"{what} {', '.join(names)}" for what, names in (("lacks", missing), ("has also", unexpected)) if names]
        raise RuleValueError(
            f"The state is not that of {type(model).__name__} in float: it {' and '.join(said)}. Use load_state_dict for "
            "that of a quantised model, or strict=False to leave it so."
        )
    return type(found)(missing, unexpected)


def freeze(model: ModuleT) -> ModuleT:
    """Replace the latent weights by the quantised weights: plain layers, with the same outputs bit for bit. In place.

    Each layer then has its quantised weights (+1 and -1 for ``sign`` without a scale) as its plain parameter
    ``weight``, in the dtype of before, so no smaller (``tieless.deploy.pack`` stores bits), which no longer requires a
    gradient. ``BinaryLinear`` becomes ``nn.Linear``, and so on. Biases, batch
    norm and activations are unchanged. The ``state_dict`` is that of a model that was never quantised, and loads
    strictly into one.

    Layers that share their latent weights share the quantised weights, if they are quantised alike.

    Args:
        model: Any module; one without quantised weights stays as it is.
    Returns:
        The model.
    Raises:
        RuleValueError: latent weights are also the weight of something that is not quantised, or not alike, such as an
            embedding to which the head is tied: frozen, they could not stay one parameter. Nothing is changed then.
        RuleTypeError: a layer was given feedback weights after its quantisation; revert these first.
    Example:
        >>> from tieless.nn import BinaryLinear, freeze
        >>> net = torch.nn.Sequential(BinaryLinear(3, 2), tl.Activation("sign", "rectangular(-1, 1)"))
        >>> freeze(net)
        Sequential(
          (0): Linear(in_features=3, out_features=2, bias=True)
          (1): Activation(sign, rectangular(-1, 1))
        )
        >>> net[0].weight.abs()
        tensor([[1., 1., 1.],
                [1., 1., 1.]])
    """
    return _plain(model, "freeze", quantized=True)


def restore_weights(model: ModuleT) -> ModuleT:
    """Undo ``quantize_weights``: the latent weights become the weights again, the same parameter objects. In place.

    Args:
        model: Any module; one without quantised weights stays as it is.
    Returns:
        The model.
    Example:
        >>> from tieless.nn import quantize_weights, restore_weights
        >>> net = torch.nn.Linear(3, 2)
        >>> before = net.weight
        >>> restore_weights(quantize_weights(net, keep_ends=False)).weight is before
        True
    """
    return _plain(model, "restore_weights", quantized=False)


def _plain(model: ModuleT, who: str, *, quantized: bool) -> ModuleT:
    layers = list(_quantized(model, who))
    for layer in layers:
        check_outermost(layer)
    if quantized:
        _check_ties(model)
    frozen: dict[int, nn.Parameter] = {}
    for layer in layers:
        latent = latent_of(layer)
        if quantized and id(latent) not in frozen:
            # Weights computed in inference mode could never be trained through again.
            with torch.inference_mode(mode=False), torch.no_grad():
                frozen[id(latent)] = nn.Parameter(cast("Tensor", layer.weight).clone(), requires_grad=False)
        uninstall(layer)
        if quantized:
            layer.weight = frozen[id(latent)]
        if isinstance(layer, QuantizedLayer):
            layer.__class__ = layer.plain  # pyright: ignore[reportAttributeAccessIssue] - as parametrize itself does
    return model


def _check_ties(model: nn.Module) -> None:
    """Refuse latent weights that are also used in another way."""
    quantizers = {name: quantizer_of(layer) for name, layer in _named(model)}
    users: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        users.setdefault(id(parameter), []).append(name)
    for name, quantizer in quantizers.items():
        if quantizer is None:
            continue
        for user in users[id(latent_of(model.get_submodule(name)))]:
            other = quantizers.get(user.removesuffix(LATENT).removesuffix(".")) if user.endswith(LATENT) else None
            if other is None or other.settings != quantizer.settings:
                raise RuleValueError(
                    f"The latent weights of {name or 'the model'} are also {user}, which is not quantised like them: freeze "
                    f"would tear them apart. Give the layer its own first: layer.weight = torch.nn.Parameter("
                    "tieless.nn.latent_weights(layer)[0].detach().clone())."
                )


def _named(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    return cast("Iterator[tuple[str, nn.Module]]", model.named_modules(remove_duplicate=False))
