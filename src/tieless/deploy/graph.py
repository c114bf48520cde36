"""Reader of the layers of a model in evaluation mode, from the graph of ``torch.export``.

The graph names the module that each node is from. So an ``Activation`` and a ``LIF`` cell are one layer each, whatever their
forward is made of, and everything else is one of PyTorch's operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from tieless_runtime.network import INPUT
from torch import Tensor, fx, nn

from tieless.errors import DeployError
from tieless.nn import LIF, Activation


@dataclass(slots=True)
class Layer:
    """Layer of a model.

    Args:
        kind: Name of its kind; ``operators`` and ``fold`` have them all.
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


@dataclass(frozen=True, slots=True)
class Seen:
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


class Reader:
    """Reader of one exported model.

    Args:
        model: Frozen model, whose modules the graph names.
        exported: Program of it.
        example: Batch of samples.
        operators: Functions that read a node, by the name of its operator.
    """

    def __init__(
        self,
        model: nn.Module,
        exported: torch.export.ExportedProgram,
        example: Tensor,
        operators: Mapping[str, Callable[[Reader, fx.Node, str], None]],
    ) -> None:
        self._modules = dict(cast("Iterator[tuple[str, nn.Module]]", model.named_modules(remove_duplicate=False)))
        self._graph = exported.graph
        self._operators = operators
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
        self.seen: dict[fx.Node, Seen] = {}
        self._states: dict[fx.Node, Layer] = {}

    def read(self) -> Graph:
        """Layers of the model."""
        calls = self._calls()
        ranges = self._ranges(calls)
        inside = {node for nodes in calls for node in nodes}
        first = {nodes[0]: nodes for nodes in calls}
        for node in self._graph.nodes:
            if node.op == "placeholder":
                if node.name in self._inputs:
                    self.seen[node] = Seen(INPUT)
            elif node in inside:
                if node in first:
                    self._read_call(first[node])
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

    def _calls(self) -> list[list[fx.Node]]:
        """Nodes of each call of an ``Activation`` or a ``LIF``; of the outer one, where one calls the other."""
        found: dict[str, list[fx.Node]] = {}
        for node in self._graph.nodes:
            # Nodes of a LIF's spike name the LIF's call too, so the outer call is the first of the two.
            for key, path in _modules_of(node):
                if isinstance(self._modules.get(path), (Activation, LIF)):
                    found.setdefault(f"{key} {path}", []).append(node)
                    break
        return list(found.values())

    def _ranges(self, calls: Sequence[Sequence[fx.Node]]) -> dict[str, tuple[float, float]]:
        """Range of each value on the example, on which each activation gives what its forward says.

        Raises:
            DeployError: a hook or a method of its own makes an activation give something else.
        """
        found: dict[str, tuple[float, float]] = {}
        activations = {
            result: (source, path, module.forward_fn)
            for nodes in calls
            for source, result, path, module in self._activation(nodes)
        }
        sources = {source for source, _, _ in activations.values()}
        kept: dict[fx.Node, Tensor] = {}
        wrong: list[str] = []

        class Watching(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                result = super().run_node(n)
                if n in activations:
                    source, path, forward = activations[n]
                    expected = forward.value(kept[source])
                    if not torch.allclose(result, expected, rtol=1e-4, atol=1e-6, equal_nan=True):
                        wrong.append(f"{path} does not give what its forward {forward} says")
                if n in sources:
                    kept[n] = result.clone()
                if isinstance(result, Tensor) and result.is_floating_point() and result.numel():
                    found[n.name] = (float(result.min()), float(result.max()))
                return result

        places = [node for node in self._graph.nodes if node.op == "placeholder"]
        arguments = [self._constants.get(node.name, self._example) for node in places]
        with torch.no_grad():
            Watching(nn.Module(), graph=self._graph).run(*arguments)
        if wrong:
            raise DeployError(f"{wrong[0]}: remove its hooks, or what replaces its forward.")
        return found

    def _ends_of(self, nodes: Sequence[fx.Node]) -> tuple[str, nn.Module, list[fx.Node], list[fx.Node]]:
        """Path and module of a call, the nodes that it takes from outside, and its own that are used there."""
        inside = set(nodes)
        paths = [path for _, path in _modules_of(nodes[0])]
        path = next(path for path in paths if isinstance(self._modules.get(path), (Activation, LIF)))
        outside: list[fx.Node] = []
        for node in nodes:
            outside += [
                other
                for other in node.all_input_nodes
                if other not in inside and other not in outside and other not in self._fixed
            ]
        used = [node for node in nodes if node not in self._fixed and any(user not in inside for user in node.users)]
        return path, self._modules[path], outside, used

    def _activation(self, nodes: Sequence[fx.Node]) -> Iterator[tuple[fx.Node, fx.Node, str, Activation]]:
        """Source, result, path and module of a call, or nothing if it is one of a LIF."""
        path, module, outside, used = self._ends_of(nodes)
        if isinstance(module, Activation):
            if len(outside) != 1 or len(used) != 1:
                raise DeployError(f"{path} must take one value and give one: remove its hooks.")
            yield outside[0], used[0], path, module

    def _read_call(self, nodes: Sequence[fx.Node]) -> None:
        path, module, outside, used = self._ends_of(nodes)
        if isinstance(module, LIF):
            self._read_cell(path, module, outside, used)
            return
        for source, result, _, activation in self._activation(nodes):
            self.add(result, "activation", path, [self.value(source, path)], forward=activation.forward_fn)

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
                self.seen[node] = Seen(layer.output, "step", seen.times, layer.settings["times"] - 1)
            else:
                self._states[node] = layer

    def value(self, node: fx.Node, user: str) -> Seen:
        """Value that a node makes, for the layer ``user``."""
        if node not in self.seen:
            raise DeployError(
                f"{user} takes {node.name}, which depends on no sample or is the state of a cell: no packed network can do that."
            )
        return self.seen[node]

    def add(self, node: fx.Node, kind: str, name: str, inputs: Sequence[Seen], **settings: Any) -> None:
        """Add a layer, whose value the node makes."""
        timed = next((seen for seen in inputs if seen.layout != "plain"), inputs[0])
        if any(seen.layout in ("steps", "step") for seen in inputs):
            raise DeployError(
                f"{name} is applied to one time step by itself. Apply it to all of them, so that it can be packed."
            )
        self.layers.append(Layer(kind, name, tuple(seen.name for seen in inputs), node.name, settings))
        self.seen[node] = Seen(node.name, timed.layout, timed.times)

    def alias(self, node: fx.Node, seen: Seen) -> None:
        """Let a node stand for a value that is there."""
        self.seen[node] = seen

    def _read_node(self, node: fx.Node) -> None:
        operator = operator_of(node)
        read = self._operators.get(operator)
        path = next((path for _, path in reversed(_modules_of(node))), "")
        if read is None:
            where = f" in {path}" if path else ""
            raise DeployError(
                f"No packed network can do {operator}{where}. Steps and signs are packed as tieless.Activation; between them, "
                "linear layers, convolutions, batch norm, pooling, PReLU and ReLU, sums, joining, flattening, and LIF.over_time."
            )
        read(self, node, path or node.name)
        made = node.meta["val"]
        if node in self.seen and isinstance(made, Tensor) and made.dtype != torch.float32:
            raise DeployError(
                f"{path or node.name} turns numbers into {made.dtype}, which no packed network can do: they are float32."
            )

    def constant(self, argument: object) -> Tensor | None:
        """Tensor of a parameter or buffer; ``None`` if it is a value that depends on a sample, or absent."""
        return self._constants.get(argument.name) if isinstance(argument, fx.Node) else None

    def settings(self, node: fx.Node) -> dict[str, Any]:
        """Arguments of a node by name, those that were left out included."""
        schema = cast("Any", node.target)._schema  # noqa: SLF001  (PyTorch has no other name for it)
        return {
            a.name: node.args[i]
            if i < len(node.args)
            else node.kwargs.get(a.name, a.default_value if a.has_default_value() else None)
            for i, a in enumerate(schema.arguments)
        }

    def parts(self, node: fx.Node) -> list[Any]:
        """Arguments of a node in their order, those that were left out included."""
        return list(self.settings(node).values())


def _modules_of(node: fx.Node) -> list[tuple[str, str]]:
    """Calls of modules that a node is from, the outermost first: the name of the call, and that of the module."""
    stack = cast("dict[str, tuple[str, Any]]", node.meta.get("nn_module_stack") or {})
    return [(key, path) for key, (path, _) in stack.items()]


def operator_of(node: fx.Node) -> str:
    """Name of the operator of a node, without its overload."""
    return str(getattr(node.target, "_opname", None) or getattr(node.target, "__name__", node.target))
