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

from tieless.errors import DeployError, RuleValueError
from tieless.nn import LIF, Activation

CHECKED = 64
"""Number of samples of the example on which calls are compared with what their modules say."""


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
        padding: Number of zeros on both sides of each dimension of places, around the value; empty for none.
    """

    name: str
    layout: str = "plain"
    times: int = 1
    index: int = 0
    padding: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Call:
    """Call of an ``Activation`` or of a ``LIF`` cell, with the nodes of what it takes and gives.

    Args:
        nodes: Nodes that it is made of.
        path: Path of the module.
        module: Module.
        source: Numbers that it takes.
        state: State that a cell takes; ``None`` at its first time step.
        result: Numbers that it gives, or spikes; ``None`` if nothing takes them.
        left: State that a cell leaves; ``None`` if nothing takes it.
    """

    nodes: Sequence[fx.Node]
    path: str
    module: Activation | LIF
    source: fx.Node
    state: fx.Node | None
    result: fx.Node | None
    left: fx.Node | None

    @property
    def outside(self) -> list[fx.Node]:
        """Nodes of all that it takes and gives."""
        return [node for node in (self.source, self.state, self.result, self.left) if node is not None]

    def check(self, held: Mapping[fx.Node, Tensor]) -> None:
        """Compare what it gave with what its forward, or the equations of ``LIF``, say.

        Raises:
            DeployError: it gave something else.
        """
        x, state = held[self.source], None if self.state is None else held[self.state]
        if isinstance(self.module, Activation):
            says, expected = f"its forward {self.module.forward_fn} says", (self.module.forward_fn.value(x), None)
        else:
            says, expected = "LIF says", _plain(self.path, self.module)(x, state)
        for node, numbers in zip((self.result, self.left), expected, strict=True):
            if node is None or numbers is None:
                continue
            if held[node].shape != numbers.shape or not torch.allclose(held[node], numbers, 1e-4, 1e-6, equal_nan=True):
                raise DeployError(
                    f"{self.path} does not give what {says}: remove its hooks, or what replaces its forward."
                )


def _plain(path: str, cell: LIF) -> LIF:
    """Cell with the same settings, and without hooks."""
    beta = cell.beta.detach() if isinstance(cell.beta, Tensor) else cell.beta
    settings: dict[str, Any] = {name: getattr(cell, name) for name in ("gain", "threshold", "reset", "delay_reset")}
    try:
        return LIF(beta, forward=cell.spike.forward_fn, backward=cell.spike.rule, **settings)
    except RuleValueError as error:
        raise DeployError(f"{path} cannot be packed: {error}") from None


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
        inside = {node for call in calls for node in call.nodes}
        first = {call.nodes[0]: call for call in calls}
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
        if last not in self.seen or self.value(last, "The output").layout != "plain":
            raise DeployError("The model must return one value per sample, not one per time step.")
        found = {seen.name: ranges[node.name] for node, seen in self.seen.items() if node.name in ranges}
        return Graph(tuple(self._example.shape[1:]), self.layers, self.seen[last].name, found)

    def _calls(self) -> list[_Call]:
        """Calls of an ``Activation`` or a ``LIF``; the outer one, where one calls the other."""
        found: dict[tuple[str, str], list[fx.Node]] = {}
        for node in self._graph.nodes:
            # Nodes of a LIF's spike name the LIF's call too, so the outer call is the first of the two.
            for key, path in _modules_of(node):
                if isinstance(self._modules.get(path), (Activation, LIF)):
                    found.setdefault((key, path), []).append(node)
                    break
        states: set[fx.Node] = set()
        calls: list[_Call] = []
        for (_, path), nodes in found.items():
            call = self._call(path, nodes, states)
            calls.append(call)
            if call.left is not None:
                states.add(call.left)
        return calls

    def _call(self, path: str, nodes: Sequence[fx.Node], states: set[fx.Node]) -> _Call:
        inside, module = set(nodes), cast("Activation | LIF", self._modules[path])
        taken = dict.fromkeys(other for node in nodes for other in node.all_input_nodes)
        outside = [node for node in taken if node not in inside and node not in self._fixed]
        used = [node for node in nodes if node not in self._fixed and any(user not in inside for user in node.users)]
        results, left = used, list[fx.Node]()
        if isinstance(module, LIF):
            # The spikes are what the last call of the spike's activation returns, or what is made of nothing else.
            results = [node for node in used if f"{path}.spike" in [inner for _, inner in _modules_of(node)]]
            left = [node for node in used if node not in results]
        sources, state = [node for node in outside if node not in states], [node for node in outside if node in states]
        if len(sources) != 1 or max(len(state), len(results), len(left)) > 1 or not used:
            raise DeployError(
                f"{path} must take one value that depends on a sample, or a cell its own state too, and give one: remove its hooks, "
                "and begin without a state."
            )
        return _Call(nodes, path, module, sources[0], *(next(iter(each), None) for each in (state, results, left)))

    def _ranges(self, calls: Sequence[_Call]) -> dict[str, tuple[float, float]]:
        """Range of each value on the example, on which each call gives what its module says.

        Raises:
            DeployError: a hook or a method of its own makes a module give something else.
        """
        found: dict[str, tuple[float, float]] = {}
        wanted = {node for call in calls for node in call.outside}
        held: dict[fx.Node, Tensor] = {}

        class Watching(fx.Interpreter):
            def run_node(self, n: fx.Node) -> Any:
                result = super().run_node(n)
                if n in wanted:
                    held[n] = result[:CHECKED].clone() if result.dim() else result.clone()
                if isinstance(result, Tensor) and result.is_floating_point() and result.numel():
                    found[n.name] = (float(result.min()), float(result.max()))
                return result

        places = [node for node in self._graph.nodes if node.op == "placeholder"]
        others = [node.name for node in places if node.name not in self._constants and node.name not in self._inputs]
        if others:
            raise DeployError(f"The model takes {others[0]}, which is no tensor: no packed network can do that.")
        arguments = [self._constants.get(node.name, self._example) for node in places]
        with torch.no_grad():
            Watching(nn.Module(), graph=self._graph).run(*arguments)
            for call in calls:
                # What draws is refused by its name, later.
                if isinstance(call.module, LIF) or not call.module.forward_fn.draws:
                    call.check(held)
        return found

    def _read_call(self, call: _Call) -> None:
        if isinstance(call.module, LIF):
            self._read_cell(call, call.module)
        elif call.result is not None:
            source = self.value(call.source, call.path)
            self.add(call.result, "activation", call.path, [source], forward=call.module.forward_fn)

    def _read_cell(self, call: _Call, cell: LIF) -> None:
        path, seen = call.path, self.value(call.source, call.path)
        if seen.layout != "step":
            raise DeployError(
                f"{path} is called for one time step by itself. Call LIF.over_time on all steps, so that it can be packed."
            )
        if call.state is not None:
            layer = self._states[call.state]
            if layer.inputs != (seen.name,) or layer.settings["times"] != seen.index or layer.name != path:
                raise DeployError(
                    f"{path} is called out of the order of its time steps. Call LIF.over_time, so that it can be packed."
                )
        else:
            layer = Layer(
                "lif", path, (seen.name,), (call.result or call.left or call.source).name, {"cell": cell, "times": 0}
            )
            self.layers.append(layer)
        layer.settings["times"] += 1
        if call.result is not None:
            self.seen[call.result] = Seen(layer.output, "step", seen.times, layer.settings["times"] - 1)
        if call.left is not None:
            self._states[call.left] = layer

    def value(self, node: fx.Node, user: str, *, padded: bool = False) -> Seen:
        """Value that a node makes, for the layer ``user``, which takes zeros around it if ``padded``."""
        if node not in self.seen:
            raise DeployError(
                f"{user} takes {node.name}, which depends on no sample or is the state of a cell: no packed network can do that."
            )
        if self.seen[node].padding and not padded:
            raise DeployError(f"{user} takes a value that is padded. Pad directly in front of a convolution.")
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
                "linear layers, convolutions and zeros around them, batch norm, pooling, ReLU, PReLU and LeakyReLU, sums, "
                "joining, flattening, and LIF.over_time."
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
