"""One forward and one backward pass of a model whose activations may do something else: looked at, and left as it was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn

from tieless.diagnose.sites import sites_of
from tieless.diagnose.untouched import untouched
from tieless.errors import RuleTypeError, RuleValueError
from tieless.forwards import Forward
from tieless.functional import Joined
from tieless.nn import Activation, QuantizedWeight, tied_feedback
from tieless.rules import Rule, Tied

__all__ = [
    "Batch",
    "Call",
    "Loss",
    "Place",
    "Seen",
    "batches_of",
    "layer_of",
    "look",
    "loss_on",
    "places_of",
    "running",
]

Loss = Callable[[Any, Any], Tensor]
Batch = tuple[Any, Any]
LossOf = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a forward meets a rule.

    Args:
        name: In the model.
        module: An activation, ours or PyTorch's, or what quantises a weight.
        forward, rule: Its halves.
        exchangeable: Whether other halves can be put in; PyTorch's own are tied and stay.
        weight: Whether it makes a weight.
    """

    name: str
    module: nn.Module
    forward: Forward
    rule: Rule
    exchangeable: bool
    weight: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an activation.

    Args:
        place: Its number.
        z, y: Views through which alone its feedback passes.
    """

    place: int
    z: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True)
class Seen:
    """What a pass gave.

    Args:
        loss: Its value.
        weights: By the name of the parameter, its gradient; zeros where none arrives.
        calls: Of activations, in order.
        sent: For each call, the gradient at ``z``.
        received: For each call, the gradient at ``y``; empty unless it was asked for.
    """

    loss: Tensor
    weights: dict[str, Tensor]
    calls: tuple[Call, ...]
    sent: tuple[Tensor, ...]
    received: tuple[Tensor, ...] = field(default=())

    def by_place(self) -> dict[int, list[Tensor]]:
        """What was sent, by the number of the place, call after call."""
        found: dict[int, list[Tensor]] = {}
        for call, sent in zip(self.calls, self.sent, strict=True):
            found.setdefault(call.place, []).append(sent)
        return found


def places_of(model: object, asker: str) -> list[Place]:
    """Every activation of a model, then what quantises its weights.

    Raises:
        RuleTypeError: it is no module.
        RuleValueError: it has none of either.
    """
    quantisers = [
        Place(name.partition(".parametrizations.")[0], part, part.forward_fn, part.rule, exchangeable=True, weight=True)
        for name, part in _modules(model)
        if isinstance(part, QuantizedWeight)
    ]
    if quantisers and not any(True for _ in _activations(cast("nn.Module", model))):
        return quantisers
    found = [
        Place(site.name, site.module, site.forward, site.rule, exchangeable=isinstance(site.module, Activation))
        for site in sites_of(model, asker)
    ]
    return found + quantisers


def _modules(model: object) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(model, nn.Module):
        yield from cast("Iterator[tuple[str, nn.Module]]", model.named_modules())


def _activations(model: nn.Module) -> Iterator[Activation]:
    for _, module in _modules(model):
        if isinstance(module, Activation):
            yield module


def look(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: LossOf,
    halves: Mapping[int, Joined],
    *,
    seed: int,
    received: bool = False,
    tied: bool = False,
) -> Seen:
    """Run forward and backward once. The model, its gradients, buffers, modes and all random states stay as they were.

    What a jam draws comes from a stream of its own, so that dropout draws the same whatever the rules are.

    Args:
        model: Any module with these places.
        places: As ``places_of`` gives them.
        loss_of: Runs the model and gives a scalar.
        halves: By the number of a place, which halves run there instead of its own.
        seed: For whatever draws.
        received: Whether the gradients at each ``y`` are wanted too.
        tied: Whether nothing may stay untied: ``untie`` called by itself is then refused, and every layer carries its
            feedback by its own weights.
    Raises:
        RuleTypeError: the loss is no scalar.
        RuleValueError: see ``tied``; or no activation was called, or the loss depends on no parameter.
    """
    own_weights = tied_feedback(model) if tied else nullcontext()
    with running(model, places, halves, seed=seed) as calls, own_weights, torch.enable_grad():
        loss = loss_of(model)
        if tied:
            _refuse_untied(loss, model)
        parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        if not loss.requires_grad:
            raise RuleValueError(f"The loss of {type(model).__name__} depends on nothing that has a gradient.")
        seen = tuple(calls)  # a checkpoint calls again in the backward pass
        at = [*parameters.values(), *(call.z for call in seen), *(call.y for call in seen if received)]
        grads = torch.autograd.grad(loss, at, materialize_grads=True, allow_unused=True)
    split, end = len(parameters), len(parameters) + len(seen)
    return Seen(
        loss.detach(),
        dict(zip(parameters, grads[:split], strict=True)),
        seen,
        tuple(grads[split:end]),
        tuple(grads[end:]),
    )


@contextmanager
def running(
    model: nn.Module, places: Sequence[Place], halves: Mapping[int, Joined], *, seed: int
) -> Generator[list[Call]]:
    """Inside, other halves run and all calls are seen; afterwards the model and all random states are as they were.

    Parameters that are put in the place of others are taken out again too.
    """
    calls: list[Call] = []
    with torch.inference_mode(mode=False), untouched(model, *(place.module for place in places)):
        torch.manual_seed(seed)
        stream = [torch.Generator().manual_seed(seed + 2**32).get_state()]
        for number, place in enumerate(places):
            # In the instance it hides the method of the class; `untouched` takes it out again.
            vars(place.module)["forward"] = _watched(number, place, halves.get(number), stream, calls)
        yield calls


def _watched(
    number: int, place: Place, joined: Joined | None, stream: list[Tensor], calls: list[Call]
) -> Callable[..., Tensor]:
    module = place.module
    inplace = bool(vars(module).get("inplace", False))
    if inplace:
        vars(module)["inplace"] = False
    if joined is not None:
        vars(module)["joined"] = joined
    halves = vars(module).get("joined")
    draws = isinstance(halves, Joined) and halves.draws
    own = cast("Callable[..., Tensor]", module.forward)

    def forward(*given: Any, inplace: bool = inplace, **named: Any) -> Tensor:
        z, *others = given or (named.pop("z" if "z" in named else "input"),)
        # A view of its own: what arrives at z from elsewhere, past a residual connection, is not what this one sends.
        # Where nothing below learns, z starts the graph, or nothing would be sent.
        begin = z.clone() if inplace else z.view_as(z)
        begin = begin if z.requires_grad else begin.detach().requires_grad_()
        if draws:
            here = torch.get_rng_state()
            torch.set_rng_state(stream[0])
            y = own(begin, *others, **named)
            stream[0] = torch.get_rng_state()
            torch.set_rng_state(here)
        else:
            y = own(begin, *others, **named)
        if not place.weight:
            y = y.view_as(y)
            calls.append(Call(number, begin, y))
        return z.copy_(y) if inplace else y.view_as(y)

    return forward


def _refuse_untied(loss: Tensor, model: nn.Module) -> None:
    """What is called in the model's code by itself has no place in which a reference could be put."""
    waiting, met = [loss.grad_fn], set[object]()
    while waiting:
        node = waiting.pop()
        if node is None or node in met:
            continue
        met.add(node)
        joined = getattr(node, "joined", None)
        if isinstance(joined, Joined) and not isinstance(joined.rule, Tied):
            raise RuleValueError(
                f"{type(model).__name__} calls untie by itself, with the rule {joined.rule}, where no reference can be "
                "put in its place. Put a tieless.Activation there."
            )
        waiting += [following for following, _ in node.next_functions]


def loss_on(loss_fn: Loss, batch: Batch) -> LossOf:
    """The loss on a batch as a function of the model."""
    inputs, targets = batch

    def loss_of(model: nn.Module) -> Tensor:
        value = loss_fn(model(inputs), targets)
        if not isinstance(value, Tensor) or value.dim():  # pyright: ignore[reportUnnecessaryIsInstance]
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuleTypeError(
                f"loss_fn(outputs, targets) must give a scalar, got {what}. Take a mean over the batch."
            )
        return value

    return loss_of


def batches_of(batch: object) -> Iterator[Batch]:
    """The batches in ``(inputs, targets)``, or in an iterable of such pairs.

    Raises:
        RuleTypeError: it is neither.
        RuleValueError: there is none in it.
    Example:
        >>> from tieless.diagnose.passes import batches_of
        >>> len(list(batches_of((torch.zeros(2), torch.zeros(2))))), len(list(batches_of([("x", "t"), ("x", "t")])))
        (1, 2)
    """
    if _is_pair(batch):
        yield cast("Batch", batch)
        return
    wanted = "A batch is a pair (inputs, targets), or an iterable of such pairs"
    if isinstance(batch, Tensor) or not hasattr(batch, "__iter__"):
        raise RuleTypeError(f"{wanted}, got {type(batch).__name__}.")
    none = True
    for one in cast("Iterator[object]", batch):
        if not isinstance(one, (tuple, list)) or len(cast("tuple[Any, ...]", one)) != 2:
            raise RuleTypeError(f"{wanted}, got {type(cast('object', one)).__name__} in it.")
        none = False
        yield cast("Batch", one)
    if none:
        raise RuleValueError(f"{wanted}, got an empty one.")


def _is_pair(batch: object) -> bool:
    if not isinstance(batch, (tuple, list)) or len(cast("tuple[Any, ...]", batch)) != 2:
        return False
    return not isinstance(cast("tuple[Any, ...]", batch)[0], (tuple, list))


def layer_of(parameter: str) -> str:
    """The name of the layer that a parameter belongs to; a quantised layer is one layer still.

    Example:
        >>> from tieless.diagnose.passes import layer_of
        >>> layer_of("block.0.weight"), layer_of("block.1.parametrizations.weight.original")
        ('block.0', 'block.1')
    """
    name, found, _ = parameter.partition(".parametrizations.")
    return name if found else parameter.rpartition(".")[0]
