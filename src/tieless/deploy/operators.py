"""Operators of PyTorch that a packed network can do, each with the function that reads it as a layer."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from tieless.deploy.graph import Graph, Layer, Reader, Seen, operator_of
from tieless.errors import DeployError, TielessError
from tieless.nn import freeze


def _sizes(setting: Any, dims: int) -> tuple[int, ...]:
    found = tuple(cast("Sequence[int]", setting)) if isinstance(setting, (list, tuple)) else (setting,)
    return found * dims if len(found) == 1 else found


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _same(reader: Reader, node: fx.Node, path: str) -> None:
    source = node.args[0]
    if isinstance(source, fx.Node) and source in reader.seen:
        reader.alias(node, reader.seen[source])


def _dropout(reader: Reader, node: fx.Node, path: str) -> None:
    if reader.parts(node)[2]:
        raise DeployError(
            f"{path} drops numbers in evaluation mode too, which no packed network can do. Give it training=self.training."
        )
    _same(reader, node, path)


def _nothing(reader: Reader, node: fx.Node, path: str) -> None:
    pass


def _weights(reader: Reader, argument: object, path: str) -> Tensor:
    found = reader.constant(argument)
    if found is None:
        raise DeployError(
            f"The weights of {path} are computed from something else than its own. Freeze or remove that first."
        )
    return found


def _pad(reader: Reader, node: fx.Node, path: str) -> None:
    settings = reader.settings(node)
    x, sizes = cast("fx.Node", node.args[0]), cast("list[int]", settings["pad"])
    seen, places = reader.value(x, path, padded=True), len(_shape(x)) - 2
    # The last dimension comes first.
    sides = list(zip(sizes[::2], sizes[1::2], strict=True))[::-1]
    sides = [(0, 0)] * (places - len(sides)) + sides
    if settings.get("mode", "constant") != "constant" or settings["value"] or len(sides) > places or min(sizes) < 0:
        raise DeployError(
            f"{path} pads by something else than zeros around places, which are packed in front of a convolution."
        )
    if seen.layout == "time":
        raise DeployError(
            f"{path} pads a value with time steps. Fold them into the batch before, as for the convolution behind."
        )
    before = seen.padding or ((0, 0),) * places
    reader.alias(node, replace(seen, padding=_added(before, sides)))


def _added(first: Iterable[tuple[int, int]], second: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    return tuple((a + c, b + d) for (a, b), (c, d) in zip(first, second, strict=True))


def _evened(
    weights: Tensor, sides: Sequence[tuple[int, int]], dilation: Sequence[int], path: str
) -> tuple[Tensor, tuple[int, ...]]:
    """Weights with zeros on one side, so that as much padding on both sides makes the same sums; and that padding."""
    zeros: list[int] = []
    for (before, after), spread in zip(sides, dilation, strict=True):
        if (before - after) % spread:
            raise DeployError(
                f"{path} pads {before} and {after}, which do not differ by a multiple of its dilation: pad both sides alike."
            )
        lack = (before - after) // spread
        zeros = [max(0, -lack), max(0, lack), *zeros]
    return (F.pad(weights, zeros) if any(zeros) else weights), tuple(max(side) for side in sides)


def _conv(reader: Reader, node: fx.Node, path: str) -> None:
    x, weight, bias, stride, padding, dilation, groups = reader.parts(node)
    weights, seen = _weights(reader, weight, path), reader.value(x, path, padded=True)
    dims = weights.dim() - 2
    dilation = _sizes(dilation, dims)
    if isinstance(padding, str):
        reach = [d * (k - 1) if padding == "same" else 0 for d, k in zip(dilation, weights.shape[2:], strict=True)]
        sides = [(r // 2, r - r // 2) for r in reach]
    else:
        sides = [(size, size) for size in _sizes(padding, dims)]
    weights, padding = _evened(weights, _added(sides, seen.padding or ((0, 0),) * dims), dilation, path)
    reader.add(
        node,
        "product",
        path,
        [seen],
        weight=weights,
        bias=reader.constant(bias),
        stride=_sizes(stride, dims),
        padding=padding,
        dilation=dilation,
        groups=groups,
    )


def _linear(reader: Reader, node: fx.Node, path: str) -> None:
    x, weight, bias = reader.parts(node)
    weights, seen = _weights(reader, weight, path), reader.value(x, path)
    if len(_shape(x)) != (3 if seen.layout == "time" else 2):
        raise DeployError(
            f"{path} is a linear layer over the last dimension of {_shape(x)}, which no packed network can do. "
            "For samples whose features come first use Conv1d or Conv2d with a kernel of 1; or flatten."
        )
    reader.add(node, "product", path, [seen], weight=weights, bias=reader.constant(bias))


def _batch_norm(reader: Reader, node: fx.Node, path: str) -> None:
    x, weight, bias, mean, variance, training, _, eps, _ = reader.parts(node)
    mean, variance = reader.constant(mean), reader.constant(variance)
    if training or mean is None or variance is None:
        raise DeployError(
            f"{path} normalises by the batch's own statistics. A packed network needs running statistics."
        )
    reader.add(
        node,
        "norm",
        path,
        [reader.value(x, path)],
        weight=reader.constant(weight),
        bias=reader.constant(bias),
        mean=mean,
        variance=variance,
        eps=eps,
    )


def _max_pool(reader: Reader, node: fx.Node, path: str) -> None:
    x, kernel, stride, padding, dilation, ceil = reader.parts(node)
    windows = {"kernel": kernel, "stride": stride or kernel, "padding": padding, "dilation": dilation}
    _pool(reader, node, path, "max_pool", x, ceil=ceil, **windows)


def _mean_pool(reader: Reader, node: fx.Node, path: str) -> None:
    x, kernel, stride, padding, ceil, count_include_pad, *divisor = reader.parts(node)
    if any(divisor):
        raise DeployError(f"{path} has a divisor, which no packed network can do. Multiply behind the pool.")
    if any(_sizes(padding, 1)) and not count_include_pad:
        raise DeployError(
            f"{path} divides by fewer numbers at the border (count_include_pad=False), which no packed network can do. "
            "Train it with count_include_pad=True, or without padding."
        )
    _pool(reader, node, path, "mean_pool", x, ceil=ceil, kernel=kernel, stride=stride or kernel, padding=padding)


def _pool(reader: Reader, node: fx.Node, path: str, kind: str, x: Any, *, ceil: bool, **windows: Any) -> None:
    dims = 1 if "1d" in str(node.target) else 2
    sizes = {name: _sizes(size, dims) for name, size in windows.items()}
    reach = [d * (k - 1) + 1 for d, k in zip(sizes.get("dilation", (1,) * dims), sizes["kernel"], strict=True)]
    fits = zip(_shape(x)[-dims:], sizes["padding"], reach, sizes["stride"], _shape(node)[-dims:], strict=True)
    if ceil and any((size + 2 * pad - long) // step + 1 != made for size, pad, long, step, made in fits):
        raise DeployError(
            f"{path} pools windows beyond the border (ceil_mode), which no packed network can do. Train it with ceil_mode=False."
        )
    reader.add(node, kind, path, [reader.value(x, path)], **sizes)


def _adaptive(reader: Reader, node: fx.Node, path: str) -> None:
    x, wanted = node.args[0], node.args[1]
    places = _shape(cast("fx.Node", x))[2:]
    wanted = _sizes(wanted, len(places))
    if any(size % want for size, want in zip(places, wanted, strict=True)):
        raise DeployError(
            f"{path} pools {places} to {wanted}, in windows of several sizes, which no packed network can do."
        )
    kernel = tuple(size // want for size, want in zip(places, wanted, strict=True))
    seen = reader.value(cast("fx.Node", x), path)
    reader.add(node, "mean_pool", path, [seen], kernel=kernel, stride=kernel, padding=(0,) * len(places))


def _mean(reader: Reader, node: fx.Node, path: str) -> None:
    x = cast("fx.Node", node.args[0])
    seen, rank = reader.value(x, path), len(_shape(x))
    # Without dimensions PyTorch takes all.
    settings = reader.settings(node)
    dims, keep = settings.get("dim"), settings.get("keepdim", False)
    dims = sorted(dim % rank for dim in (_sizes(dims, 1) if dims is not None else range(rank)))
    if seen.layout == "time" and dims == [0] and not keep:
        reader.add(node, "mean_time" if "mean" in str(node.target) else "sum_time", path, [seen])
        reader.seen[node] = Seen(node.name)
        return
    if seen.layout in ("plain", "folded") and dims == list(range(2, rank)) and "mean" in str(node.target):
        reader.add(
            node, "mean_pool", path, [seen], kernel=_shape(x)[2:], stride=_shape(x)[2:], padding=(0,) * (rank - 2)
        )
        if not keep:
            reader.layers.append(Layer("flatten", path, (node.name,), f"{node.name}.flat"))
            reader.seen[node] = Seen(f"{node.name}.flat", seen.layout, seen.times)
        return
    raise DeployError(
        f"{path} takes a mean or a sum over dimensions {dims}, which no packed network can do: means over time steps or places are."
    )


def _binary(reader: Reader, node: fx.Node, path: str) -> None:
    first, second, *rest = reader.parts(node)
    operator = operator_of(node)
    if rest and rest[0] != 1:
        raise DeployError(f"{path} has an alpha or a rounding_mode, which no packed network can do.")
    seen = [reader.value(each, path) for each in (first, second) if isinstance(each, fx.Node) and each in reader.seen]
    if len(seen) == 2:
        if operator not in ("add", "add_"):
            raise DeployError(f"No packed network can do {operator} of two values in {path}: sums are.")
        reader.add(node, "add", path, seen)
        return
    if not seen:
        raise DeployError(f"{path} computes something from no sample, which no packed network can do.")
    turned = not (isinstance(first, fx.Node) and first in reader.seen)
    other = first if turned else second
    constant = reader.constant(other)
    if constant is None:
        if not isinstance(other, (int, float)):
            raise DeployError(f"{path} computes with something that is no parameter, which no packed network can do.")
        constant = torch.tensor(float(other))
    rank = len(_shape(node)) - (1 if seen[0].layout == "time" else 0)
    vector = constant.reshape((1,) * max(0, rank - constant.dim()) + tuple(constant.shape)).float()
    if (
        vector.dim() != rank
        or any(size != 1 for place, size in enumerate(vector.shape) if place != 1)
        or (operator in ("sub", "div") and turned)
    ):
        raise DeployError(
            f"{path} computes {operator} with a tensor of shape {tuple(constant.shape)}, which no packed network can do: one number for each channel is."
        )
    reader.add(node, "scale", path, seen, operator=operator.rstrip("_"), vector=vector.reshape(-1))


def _prelu(reader: Reader, node: fx.Node, path: str) -> None:
    slope = reader.constant(node.args[1])
    assert slope is not None
    reader.add(node, "prelu", path, [reader.value(cast("fx.Node", node.args[0]), path)], slope=slope)


def _leaky_relu(reader: Reader, node: fx.Node, path: str) -> None:
    x, slope = reader.parts(node)
    reader.add(node, "prelu", path, [reader.value(x, path)], slope=torch.tensor([float(slope)]))


def _elementwise(kind: str) -> Callable[[Reader, fx.Node, str], None]:
    def read(reader: Reader, node: fx.Node, path: str) -> None:
        reader.add(node, kind, path, [reader.value(cast("fx.Node", node.args[0]), path)])

    return read


def _cat(reader: Reader, node: fx.Node, path: str) -> None:
    parts, dim = reader.parts(node)
    seen = [reader.value(part, path) for part in parts]
    if dim % len(_shape(node)) != (2 if seen[0].layout == "time" else 1):
        raise DeployError(
            f"{path} joins values by dimension {dim}, which no packed network can do: channels are joined."
        )
    reader.add(node, "concat", path, seen)


def _reshape(reader: Reader, node: fx.Node, path: str) -> None:
    x = cast("fx.Node", node.args[0])
    seen, before, after = reader.value(x, path), _shape(x), _shape(node)
    batch = reader.batch
    lead = {"plain": (batch,), "folded": (seen.times * batch,), "time": (seen.times, batch)}.get(seen.layout, ())
    rest = before[len(lead) :]
    if after == before:
        reader.alias(node, seen)
    elif seen.layout == "time" and after == (seen.times * batch, *rest):
        reader.alias(node, Seen(seen.name, "folded", seen.times))
    elif seen.layout == "folded" and after == (seen.times, batch, *rest):
        reader.alias(node, Seen(seen.name, "time", seen.times))
    elif lead and after == (*lead, torch.Size(rest).numel()):
        reader.add(node, "flatten", path, [seen])
    else:
        raise DeployError(
            f"{path} changes a shape from {before} to {after}, which no packed network can do: flattening is."
        )


def _expand(reader: Reader, node: fx.Node, path: str) -> None:
    x = cast("fx.Node", node.args[0])
    seen, before, after = reader.value(x, path), _shape(x), _shape(node)
    if (seen.layout == "plain" and after[1:] == before) or (
        seen.layout == "time" and seen.times == 1 and after[1:] == before[1:]
    ):
        reader.alias(node, Seen(seen.name, "time", after[0]))
    elif before == after:
        reader.alias(node, seen)
    else:
        raise DeployError(
            f"{path} expands a shape from {before} to {after}, which no packed network can do: time steps are."
        )


def _unsqueeze(reader: Reader, node: fx.Node, path: str) -> None:
    seen = reader.value(cast("fx.Node", node.args[0]), path)
    if node.args[1] != 0 or seen.layout != "plain":
        raise DeployError(f"{path} adds a dimension, which no packed network can do, but for time steps in front.")
    reader.alias(node, Seen(seen.name, "time", 1))


def _unbind(reader: Reader, node: fx.Node, path: str) -> None:
    seen = reader.value(cast("fx.Node", node.args[0]), path)
    if seen.layout != "time" or (len(node.args) > 1 and node.args[1] != 0):
        raise DeployError(f"{path} takes a value apart, which no packed network can do, but for time steps.")
    reader.alias(node, Seen(seen.name, "steps", seen.times))


def _getitem(reader: Reader, node: fx.Node, path: str) -> None:
    seen = reader.value(cast("fx.Node", node.args[0]), path)
    reader.alias(node, Seen(seen.name, "step", seen.times, cast("int", node.args[1])))


def _stack(reader: Reader, node: fx.Node, path: str) -> None:
    steps = [reader.value(step, path) for step in cast("list[fx.Node]", node.args[0])]
    whole = {step.name for step in steps}
    if (
        len(whole) != 1
        or len(steps) != steps[0].times
        or any(step.layout != "step" or step.index != i for i, step in enumerate(steps))
        or reader.parts(node)[1] != 0
    ):
        raise DeployError(f"{path} stacks values that are not all time steps of one, which no packed network can do.")
    reader.alias(node, Seen(steps[0].name, "time", len(steps)))


OPERATORS: dict[str, Callable[[Reader, fx.Node, str], None]] = {
    **dict.fromkeys(
        ("alias", "clone", "contiguous", "detach", "detach_", "to", "lift_fresh_copy"),
        _same,
    ),
    **dict.fromkeys(("dropout", "feature_dropout"), _dropout),
    **dict.fromkeys(("_assert_tensor_metadata", "zeros_like", "sym_size"), _nothing),
    **dict.fromkeys(("conv1d", "conv2d"), _conv),
    **dict.fromkeys(("max_pool1d", "max_pool2d"), _max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), _mean_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _adaptive),
    **dict.fromkeys(("add", "add_", "sub", "mul", "mul_", "div"), _binary),
    **dict.fromkeys(("flatten", "view", "reshape", "unflatten", "_unsafe_view", "squeeze"), _reshape),
    **dict.fromkeys(("expand", "repeat"), _expand),
    **dict.fromkeys(("mean", "sum"), _mean),
    **dict.fromkeys(("leaky_relu", "leaky_relu_"), _leaky_relu),
    **dict.fromkeys(("pad", "constant_pad_nd"), _pad),
    **{kind: _elementwise(kind) for kind in ("relu", "tanh", "sigmoid")},
    "relu_": _elementwise("relu"),
    "batch_norm": _batch_norm,
    "cat": _cat,
    "getitem": _getitem,
    "linear": _linear,
    "prelu": _prelu,
    "stack": _stack,
    "unbind": _unbind,
    "unsqueeze": _unsqueeze,
}


DENSE = "a dense tensor of real numbers with memory of its own"


def is_dense(x: object) -> TypeGuard[Tensor]:
    """True for a tensor whose numbers can be read."""
    return isinstance(x, Tensor) and x.layout == torch.strided and not x.is_meta and not x.is_complex()


def named(x: object) -> str:
    """Words that say what was given in the place of a tensor."""
    if not isinstance(x, Tensor):
        return type(x).__name__
    return f"a tensor of shape {tuple(x.shape)}, {x.dtype}, {x.layout}, on {x.device.type}".replace("torch.", "")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def read_graph(model: nn.Module, example: Tensor) -> Graph:
    """Layers of a model: of a frozen copy, in evaluation mode.

    Args:
        model: Model with one input and one output.
        example: Batch of samples.
    Raises:
        DeployError: the model cannot be exported, or does something that no packed network can do.
    """
    if not isinstance(model, nn.Module):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeployError(f"A model is packed, a torch.nn.Module; got {type(model).__name__}.")
    if not is_dense(example) or example.dim() < 2 or example.numel() == 0:
        raise DeployError(f"The example must be a batch of samples (n, ...), {DENSE}; got {named(example)}.")
    sample = example.detach().cpu().float()
    if not bool(sample.isfinite().all()):
        raise DeployError("The example has numbers that are NaN or infinite in float32.")
    try:
        frozen = freeze(copy.deepcopy(model)).eval().float().cpu().requires_grad_(False)
    except (RuntimeError, ValueError, TypeError) as error:
        if isinstance(error, TielessError):
            raise
        raise DeployError(
            f"The model has no copy in float32 on the CPU, which is what is packed: {_first_line(error)}"
        ) from error
    try:
        with torch.no_grad():
            exported = torch.export.export(frozen, (sample,), strict=False)
    except Exception as error:
        raise DeployError(f"torch.export cannot read the model: {_first_line(error)}") from error
    return Reader(frozen, exported, sample, OPERATORS).read()
