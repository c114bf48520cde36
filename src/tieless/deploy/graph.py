"""Layers of a model in evaluation mode, read from the graph of ``torch.export``.

The graph names the module that each node is from. So an ``Activation`` and a ``LIF`` cell are one layer each, whatever their
forward is made of, and everything else is one of PyTorch's operators.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from tieless.errors import DeployError
from tieless.nn import LIF, Activation, freeze


@dataclass(slots=True)
class Layer:
    """Layer of a model.

    Args:
        kind: Name of its kind; ``_OPERATORS`` and ``fold`` have them all.
        name: Name of its module in the model, or of its operator.
        inputs: Names of the values that it takes.
        output: Name of the value that it makes.
        settings: Settings and tensors of the kind.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Graph:
    """Layers of a model in the order in which they run.

    Args:
        shape: Sizes of one sample.
        layers: Layers.
        output: Name of the value that the model returns.
        ranges: Smallest and largest number of each value on the example.
    """

    shape: tuple[int, ...]
    layers: list[Layer]
    output: str
    ranges: dict[str, tuple[float, float]]


INPUT = "input"


@dataclass(frozen=True, slots=True)
class _Seen:
    """Value of a layer as a tensor of the graph.

    Args:
        name: Name of the value.
        layout: Leading dimensions: ``"plain"`` for a batch, ``"time"`` for time steps and a batch, ``"folded"`` for both
            as one; ``"steps"`` for a list of time steps, ``"step"`` for one of them.
        times: Number of time steps, 1 without any.
        index: Time step of a ``"step"``.
    """

    name: str
    layout: str = "plain"
    times: int = 1
    index: int = 0


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
    if not isinstance(example, Tensor) or example.dim() < 2 or len(example) == 0:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise DeployError("The example must be a batch of samples, a tensor (n, ...).")
    frozen = freeze(copy.deepcopy(model)).eval().float().cpu().requires_grad_(False)
    sample = example.detach().cpu().float()
    try:
        with torch.no_grad():
            exported = torch.export.export(frozen, (sample,), strict=False)
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise DeployError(f"torch.export cannot read the model: {reason[0]}") from error
    return _Reader(frozen, exported, sample).read()


class _Reader:
    def __init__(self, model: nn.Module, exported: torch.export.ExportedProgram, example: Tensor) -> None:
        self._modules = dict(cast("Iterator[tuple[str, nn.Module]]", model.named_modules()))
        self._graph = exported.graph
        self.batch, self._example = len(example), example
        signature = exported.graph_signature
        tensors: dict[str, Any] = {**exported.state_dict, **exported.constants}
        names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        names |= signature.inputs_to_lifted_tensor_constants
        self._constants = {node: cast("Tensor", tensors[name]) for node, name in names.items()}
        # What is computed from constants alone is one too: a beta in another dtype.
        self._fixed: set[fx.Node] = set()
        for node in self._graph.nodes:
            sources = node.all_input_nodes
            if node.name in self._constants or (sources and self._fixed.issuperset(sources)):
                self._fixed.add(node)
        self._inputs = list(signature.user_inputs)
        self._outputs = list(signature.user_outputs)
        self.layers: list[Layer] = []
        self.seen: dict[fx.Node, _Seen] = {}
        self._states: dict[fx.Node, Layer] = {}

    def read(self) -> Graph:
        groups = self._groups()
        ranges = self._ranges()
        done: set[str] = set()
        for node in self._graph.nodes:
            group = groups.get(node)
            if node.op == "placeholder":
                if node.name in self._inputs:
                    self.seen[node] = _Seen(INPUT)
            elif group is not None:
                if group not in done:
                    done.add(group)
                    self._read_group([other for other in self._graph.nodes if groups.get(other) == group])
            elif node.op == "call_function":
                self._read_node(node)
        if len(self._outputs) != 1 or len(self._inputs) != 1:
            raise DeployError(
                f"A model with one input and one output is packed, got {len(self._inputs)} and {len(self._outputs)}."
            )
        last = next(node for node in self._graph.nodes if node.name == self._outputs[0])
        if last not in self.seen or self.seen[last].layout != "plain":
            raise DeployError("The model must return one value per sample, not one per time step.")
        found = {seen.name: ranges[node.name] for node, seen in self.seen.items() if node.name in ranges}
        return Graph(tuple(self._example.shape[1:]), self.layers, self.seen[last].name, found)

    def _groups(self) -> dict[fx.Node, str]:
        """Call of an ``Activation`` or a ``LIF`` that each node is from; the outer one, where one calls the other."""
        found: dict[fx.Node, str] = {}
        for node in self._graph.nodes:
            for key, path in _modules_of(node):
                if isinstance(self._modules.get(path), (Activation, LIF)):
                    found[node] = f"{key} {path}"
                    break
        # Nodes of a LIF's spike name the LIF's call too, so the outer call is the first of the two.
        return found

    def _ranges(self) -> dict[str, tuple[float, float]]:
        """Range of each value on the example."""
        found: dict[str, tuple[float, float]] = {}

        class Watching(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                result = super().run_node(n)
                if isinstance(result, Tensor) and result.is_floating_point() and result.numel():
                    found[n.name] = (float(result.min()), float(result.max()))
                return result

        places = [node for node in self._graph.nodes if node.op == "placeholder"]
        arguments = [self._constants.get(node.name, self._example) for node in places]
        with torch.no_grad():
            Watching(nn.Module(), graph=self._graph).run(*arguments)
        return found

    def _read_group(self, nodes: Sequence[fx.Node]) -> None:
        inside = set(nodes)
        paths = [path for _, path in _modules_of(nodes[0])]
        path = next(path for path in paths if isinstance(self._modules.get(path), (Activation, LIF)))
        module = self._modules[path]
        outside: list[fx.Node] = []
        for node in nodes:
            outside += [
                other
                for other in node.all_input_nodes
                if other not in inside and other not in outside and other not in self._fixed
            ]
        used = [node for node in nodes if node not in self._fixed and any(user not in inside for user in node.users)]
        if isinstance(module, Activation):
            (source,), (result,) = outside, used
            self.add(result, "activation", path, [self.value(source, path)], forward=module.forward_fn)
        else:
            self._read_cell(path, cast("LIF", module), outside, used)

    def _read_cell(self, path: str, cell: LIF, outside: Sequence[fx.Node], used: Sequence[fx.Node]) -> None:
        state = [node for node in outside if node in self._states]
        (source,) = [node for node in outside if node not in self._states]
        seen = self.value(source, path)
        if seen.layout != "step" or len(state) > 1:
            raise DeployError(
                f"{path} is called for one time step by itself. Call LIF.over_time on all steps, so that it can be packed."
            )
        if state:
            layer = self._states[state[0]]
            if layer.inputs != (seen.name,) or layer.settings["times"] != seen.index:
                raise DeployError(
                    f"{path} is called out of the order of its time steps. Call LIF.over_time, so that it can be packed."
                )
        else:
            layer = Layer("lif", path, (seen.name,), used[0].name, {"cell": cell, "times": 0})
            self.layers.append(layer)
        layer.settings["times"] += 1
        for node in used:
            # The spikes are what the last call of the spike's activation returns, or what is made of nothing else.
            if f"{path}.spike" in [inner for _, inner in _modules_of(node)]:
                self.seen[node] = _Seen(layer.output, "step", seen.times, layer.settings["times"] - 1)
            else:
                self._states[node] = layer

    def value(self, node: fx.Node, user: str) -> _Seen:
        if node not in self.seen:
            raise DeployError(
                f"{user} takes {node.name}, which depends on no sample or is the state of a cell: no packed network can do that."
            )
        return self.seen[node]

    def add(self, node: fx.Node, kind: str, name: str, inputs: Sequence[_Seen], **settings: Any) -> None:
        timed = next((seen for seen in inputs if seen.layout != "plain"), inputs[0])
        if any(seen.layout in ("steps", "step") for seen in inputs):
            raise DeployError(
                f"{name} is applied to one time step by itself. Apply it to all of them, so that it can be packed."
            )
        self.layers.append(Layer(kind, name, tuple(seen.name for seen in inputs), node.name, settings))
        self.seen[node] = _Seen(node.name, timed.layout, timed.times)

    def alias(self, node: fx.Node, seen: _Seen) -> None:
        self.seen[node] = seen

    def _read_node(self, node: fx.Node) -> None:
        operator = _operator(node)
        read = _OPERATORS.get(operator)
        path = next((path for _, path in reversed(_modules_of(node))), "")
        if read is None:
            where = f" in {path}" if path else ""
            raise DeployError(
                f"No packed network can do {operator}{where}. Steps and signs are packed as tieless.Activation; between them, "
                "linear layers, convolutions, batch norm, pooling, PReLU and ReLU, sums, joining, flattening, and LIF.over_time."
            )
        read(self, node, path or node.name)

    def constant(self, argument: object) -> Tensor | None:
        """Tensor of a parameter or buffer; ``None`` if it is a value that depends on a sample, or absent."""
        return self._constants.get(argument.name) if isinstance(argument, fx.Node) else None

    def parts(self, node: fx.Node) -> list[Any]:
        """Arguments of a node, those that were left out included."""
        schema = cast("Any", node.target)._schema  # noqa: SLF001  (PyTorch has no other name for it)
        return [
            node.args[i]
            if i < len(node.args)
            else node.kwargs.get(a.name, a.default_value if a.has_default_value() else None)
            for i, a in enumerate(schema.arguments)
        ]


def _modules_of(node: fx.Node) -> list[tuple[str, str]]:
    """Calls of modules that a node is from, the outermost first: the name of the call, and that of the module."""
    stack = cast("dict[str, tuple[str, Any]]", node.meta.get("nn_module_stack") or {})
    return [(key, path) for key, (path, _) in stack.items()]


def _operator(node: fx.Node) -> str:
    """Name of the operator of a node, without its overload."""
    return str(getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target))


def _sizes(setting: Any, dims: int) -> tuple[int, ...]:
    found = tuple(cast("Sequence[int]", setting)) if isinstance(setting, (list, tuple)) else (setting,)
    return found * dims if len(found) == 1 else found


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(node.meta["val"].shape)


def _same(reader: _Reader, node: fx.Node, path: str) -> None:
    source = node.args[0]
    if isinstance(source, fx.Node) and source in reader.seen:
        reader.alias(node, reader.seen[source])


def _nothing(reader: _Reader, node: fx.Node, path: str) -> None:
    pass


def _conv(reader: _Reader, node: fx.Node, path: str) -> None:
    x, weight, bias, stride, padding, dilation, groups = reader.parts(node)
    weights = reader.constant(weight)
    if weights is None:
        raise DeployError(
            f"The weights of {path} are computed from something else than its own. Freeze or remove that first."
        )
    dims = weights.dim() - 2
    if isinstance(padding, str):
        reach = [d * (k - 1) for d, k in zip(_sizes(dilation, dims), weights.shape[2:], strict=True)]
        if padding == "same" and any(r % 2 for r in reach):
            raise DeployError(
                f"{path} pads one side more than the other, which no packed network can do. Pad explicitly."
            )
        padding = [r // 2 for r in reach] if padding == "same" else [0] * dims
    reader.add(
        node,
        "product",
        path,
        [reader.value(x, path)],
        weight=weights,
        bias=reader.constant(bias),
        stride=_sizes(stride, dims),
        padding=_sizes(padding, dims),
        dilation=_sizes(dilation, dims),
        groups=groups,
    )


def _linear(reader: _Reader, node: fx.Node, path: str) -> None:
    x, weight, bias = reader.parts(node)
    weights = reader.constant(weight)
    if weights is None:
        raise DeployError(
            f"The weights of {path} are computed from something else than its own. Freeze or remove that first."
        )
    reader.add(node, "product", path, [reader.value(x, path)], weight=weights, bias=reader.constant(bias))


def _batch_norm(reader: _Reader, node: fx.Node, path: str) -> None:
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


def _max_pool(reader: _Reader, node: fx.Node, path: str) -> None:
    x, kernel, stride, padding, dilation, ceil_mode = reader.parts(node)
    dims = 1 if "1d" in str(node.target) else 2
    if ceil_mode:
        raise DeployError(f"{path} pools windows beyond the border (ceil_mode), which no packed network can do.")
    kernel = _sizes(kernel, dims)
    reader.add(
        node,
        "max_pool",
        path,
        [reader.value(x, path)],
        kernel=kernel,
        stride=_sizes(stride or kernel, dims),
        padding=_sizes(padding, dims),
        dilation=_sizes(dilation, dims),
    )


def _mean_pool(reader: _Reader, node: fx.Node, path: str) -> None:
    x, kernel, stride, padding, ceil_mode, count_include_pad, *divisor = reader.parts(node)
    dims = 1 if "1d" in str(node.target) else 2
    kernel, padding = _sizes(kernel, dims), _sizes(padding, dims)
    if ceil_mode or (any(padding) and not count_include_pad) or any(divisor):
        raise DeployError(
            f"{path} has ceil_mode, count_include_pad=False or a divisor, which no packed network can do."
        )
    reader.add(
        node,
        "mean_pool",
        path,
        [reader.value(x, path)],
        kernel=kernel,
        stride=_sizes(stride or kernel, dims),
        padding=padding,
    )


def _adaptive(reader: _Reader, node: fx.Node, path: str) -> None:
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


def _mean(reader: _Reader, node: fx.Node, path: str) -> None:
    x, dims, keep, *_ = reader.parts(node)
    x = cast("fx.Node", x)
    seen, rank = reader.value(x, path), len(_shape(x))
    dims = sorted(dim % rank for dim in _sizes(dims, 1))
    if seen.layout == "time" and dims == [0] and not keep:
        reader.add(node, "mean_time" if "mean" in str(node.target) else "sum_time", path, [seen])
        reader.seen[node] = _Seen(node.name)
        return
    if seen.layout in ("plain", "folded") and dims == list(range(2, rank)) and "mean" in str(node.target):
        reader.add(
            node, "mean_pool", path, [seen], kernel=_shape(x)[2:], stride=_shape(x)[2:], padding=(0,) * (rank - 2)
        )
        if not keep:
            reader.layers.append(Layer("flatten", path, (node.name,), f"{node.name}.flat"))
            reader.seen[node] = _Seen(f"{node.name}.flat", seen.layout, seen.times)
        return
    raise DeployError(
        f"{path} takes a mean or a sum over dimensions {dims}, which no packed network can do: means over time steps or places are."
    )


def _binary(reader: _Reader, node: fx.Node, path: str) -> None:
    first, second, *rest = reader.parts(node)
    operator = _operator(node)
    if rest and rest[0] != 1:
        raise DeployError(f"{path} adds a multiple (alpha), which no packed network can do.")
    seen = [reader.seen[each] for each in (first, second) if isinstance(each, fx.Node) and each in reader.seen]
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


def _prelu(reader: _Reader, node: fx.Node, path: str) -> None:
    slope = reader.constant(node.args[1])
    assert slope is not None
    reader.add(node, "prelu", path, [reader.value(cast("fx.Node", node.args[0]), path)], slope=slope)


def _elementwise(kind: str) -> Callable[[_Reader, fx.Node, str], None]:
    def read(reader: _Reader, node: fx.Node, path: str) -> None:
        reader.add(node, kind, path, [reader.value(cast("fx.Node", node.args[0]), path)])

    return read


def _cat(reader: _Reader, node: fx.Node, path: str) -> None:
    parts, dim = reader.parts(node)
    seen = [reader.value(part, path) for part in parts]
    if dim % len(_shape(node)) != (2 if seen[0].layout == "time" else 1):
        raise DeployError(
            f"{path} joins values by dimension {dim}, which no packed network can do: channels are joined."
        )
    reader.add(node, "concat", path, seen)


def _reshape(reader: _Reader, node: fx.Node, path: str) -> None:
    x = cast("fx.Node", node.args[0])
    seen, before, after = reader.value(x, path), _shape(x), _shape(node)
    batch = reader.batch
    lead = {"plain": (batch,), "folded": (seen.times * batch,), "time": (seen.times, batch)}.get(seen.layout, ())
    rest = before[len(lead) :]
    if after == before:
        reader.alias(node, seen)
    elif seen.layout == "time" and after == (seen.times * batch, *rest):
        reader.alias(node, _Seen(seen.name, "folded", seen.times))
    elif seen.layout == "folded" and after == (seen.times, batch, *rest):
        reader.alias(node, _Seen(seen.name, "time", seen.times))
    elif lead and after == (*lead, torch.Size(rest).numel()):
        reader.add(node, "flatten", path, [seen])
    else:
        raise DeployError(
            f"{path} changes a shape from {before} to {after}, which no packed network can do: flattening is."
        )


def _expand(reader: _Reader, node: fx.Node, path: str) -> None:
    x = cast("fx.Node", node.args[0])
    seen, before, after = reader.value(x, path), _shape(x), _shape(node)
    if (seen.layout == "plain" and after[1:] == before) or (
        seen.layout == "time" and seen.times == 1 and after[1:] == before[1:]
    ):
        reader.alias(node, _Seen(seen.name, "time", after[0]))
    elif before == after:
        reader.alias(node, seen)
    else:
        raise DeployError(
            f"{path} expands a shape from {before} to {after}, which no packed network can do: time steps are."
        )


def _unsqueeze(reader: _Reader, node: fx.Node, path: str) -> None:
    seen = reader.value(cast("fx.Node", node.args[0]), path)
    if node.args[1] != 0 or seen.layout != "plain":
        raise DeployError(f"{path} adds a dimension, which no packed network can do, but for time steps in front.")
    reader.alias(node, _Seen(seen.name, "time", 1))


def _unbind(reader: _Reader, node: fx.Node, path: str) -> None:
    seen = reader.value(cast("fx.Node", node.args[0]), path)
    if seen.layout != "time" or (len(node.args) > 1 and node.args[1] != 0):
        raise DeployError(f"{path} takes a value apart, which no packed network can do, but for time steps.")
    reader.alias(node, _Seen(seen.name, "steps", seen.times))


def _getitem(reader: _Reader, node: fx.Node, path: str) -> None:
    seen = reader.value(cast("fx.Node", node.args[0]), path)
    reader.alias(node, _Seen(seen.name, "step", seen.times, cast("int", node.args[1])))


def _stack(reader: _Reader, node: fx.Node, path: str) -> None:
    steps = [reader.value(step, path) for step in cast("list[fx.Node]", node.args[0])]
    whole = {step.name for step in steps}
    if (
        len(whole) != 1
        or any(step.layout != "step" or step.index != i for i, step in enumerate(steps))
        or reader.parts(node)[1] != 0
    ):
        raise DeployError(f"{path} stacks values that are not the time steps of one, which no packed network can do.")
    reader.alias(node, _Seen(steps[0].name, "time", len(steps)))


_OPERATORS: dict[str, Callable[[_Reader, fx.Node, str], None]] = {
    **dict.fromkeys(
        ("alias", "clone", "contiguous", "detach", "detach_", "dropout", "feature_dropout", "to", "lift_fresh_copy"),
        _same,
    ),
    **dict.fromkeys(("_assert_tensor_metadata", "zeros_like", "sym_size"), _nothing),
    **dict.fromkeys(("conv1d", "conv2d"), _conv),
    **dict.fromkeys(("max_pool1d", "max_pool2d"), _max_pool),
    **dict.fromkeys(("avg_pool1d", "avg_pool2d"), _mean_pool),
    **dict.fromkeys(("adaptive_avg_pool1d", "adaptive_avg_pool2d"), _adaptive),
    **dict.fromkeys(("add", "add_", "sub", "mul", "mul_", "div"), _binary),
    **dict.fromkeys(("flatten", "view", "reshape", "unflatten", "_unsafe_view", "squeeze"), _reshape),
    **dict.fromkeys(("expand", "repeat"), _expand),
    **dict.fromkeys(("mean", "sum"), _mean),
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
