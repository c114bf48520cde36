"""One observed forward and backward pass of a model, with other activations if needed; the model stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from tieless.diagnose.watching.sites import Place, inside, sites_of
from tieless.diagnose.watching.untouched import leaving_unchanged, seeded
from tieless.errors import RuleTypeError, RuleValueError
from tieless.functional import Pair, untie_pair
from tieless.nn import Activation, LearnableActivation, QuantizedWeight, tied_feedback
from tieless.rules import Rule, Tied

Loss = Callable[[Any, Any], Tensor]
Batch = tuple[Any, Any]
LossOf = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, slots=True)
class Run:
    """Call of an activation, as it is about to run.

    Args:
        place: Number of the place.
        pair: Halves that run, with the parameters of this call.
        inplace: True if it writes to its input.
        own: Function ``z -> y``, which runs the activation as it is.
    """

    place: int
    pair: Pair
    inplace: bool
    own: Callable[[Tensor], Tensor]


Watcher = Callable[[Run, Tensor], Tensor]
"""Function that gets each call and its ``z``, and returns its ``y``."""


@dataclass(frozen=True, slots=True)
class ActivationCall:
    """One call of an activation.

    Args:
        place: Number of the place.
        pair: Halves that ran.
        z, y: Views through which only the gradient of this call passes.
    """

    place: int
    pair: Pair
    z: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True)
class PassResult:
    """Result of a pass.

    Args:
        loss: Value of the loss.
        weights: Gradient of each parameter, by the parameter's name; zeros if none arrives.
        calls: Calls of activations, in order.
        sent: Gradient at ``z`` (passed down), for each call.
        received: Gradient at ``y`` (incoming), for each call; empty unless it was requested.
    """

    loss: Tensor
    weights: dict[str, Tensor]
    calls: tuple[ActivationCall, ...]
    sent: tuple[Tensor, ...]
    received: tuple[Tensor, ...] = field(default=())

    def by_place(self) -> dict[int, list[Tensor]]:
        """Gradients passed down, by the number of the place, call after call."""
        found: dict[int, list[Tensor]] = {}
        for call, sent in zip(self.calls, self.sent, strict=True):
            found.setdefault(call.place, []).append(sent)
        return found


def places_of(model: object, asker: str) -> list[Place]:
    """Activations of a model, then the parametrizations that quantise its weights.

    Raises:
        RuleTypeError: the model is no module.
        RuleValueError: the model has none of either, or has a lazy layer.
    """
    quantisers = [
        Place(name.partition(".parametrizations.")[0], part, part.tieless_pair, weight=True)
        for name, part in _modules(model)
        if isinstance(part, QuantizedWeight)
    ]
    return (inside(model, asker) if quantisers else sites_of(model, asker)) + quantisers


def _modules(model: object) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(model, nn.Module):
        yield from cast("Iterator[tuple[str, nn.Module]]", model.named_modules())


@contextmanager
def watched(
    model: nn.Module, places: Sequence[Place], watcher: Watcher, halves: Mapping[int, Pair] | None = None
) -> Generator[None]:
    """Context in which the watcher runs each call of a place; model and all random states are restored afterwards.

    Args:
        model: Module with these places.
        places: Places as ``sites`` finds them.
        watcher: Function that runs each call, as it is or in another way.
        halves: Halves that run in place of a place's own, by the number of the place.
    """
    # Untied calls in the code of modules are no children of the model.
    with torch.inference_mode(mode=False), leaving_unchanged(model, *(place.module for place in places)):
        for number, place in enumerate(places):
            # In the instance it hides the method of the class; `leaving_unchanged` takes it out again.
            vars(place.module)["forward"] = _told(number, place, (halves or {}).get(number), watcher)
        yield


def _told(number: int, place: Place, pair: Pair | None, watcher: Watcher) -> Callable[..., Tensor]:
    module = place.module
    original = cast("Callable[..., Tensor]", module.forward)
    if pair is not None and "tieless_pair" in vars(module):
        vars(module)["tieless_pair"] = pair
    elif pair is not None:
        # PyTorch's own, and slopes that learn, hold no halves that could be exchanged.
        original = _instead(pair)

    def forward(*given: Any, **named: Any) -> Tensor:
        z, *others = given or (named.pop("z" if "z" in named else "input"),)
        if not z.is_floating_point():
            return original(z, *others, **named)  # no feedback comes to it
        ran = module.with_parameters(others[0] if others else ()) if isinstance(module, Activation) else None
        inplace = bool(named.get("inplace", vars(module).get("inplace", False)))

        def own(z: Tensor) -> Tensor:
            return original(z, *others, **named)

        return watcher(Run(number, ran or pair or place.pair, inplace, own), z)

    return forward


def _instead(pair: Pair) -> Callable[..., Tensor]:
    def forward(z: Tensor, *_: Any, **__: Any) -> Tensor:
        return untie_pair(z, pair)

    return forward


def run_pass(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: LossOf,
    halves: Mapping[int, Pair],
    *,
    seed: int,
    received: bool = False,
    tied: bool = False,
) -> PassResult:
    """Run forward and backward once. The model, its gradients, buffers, modes and all random states stay as they were.

    A jam (random multiplier) draws from a stream of its own, so that dropout draws the same whatever the rules are.

    Args:
        model: Module with these places.
        places: Places as ``places_of`` gives them.
        loss_of: Function that runs the model and gives a scalar.
        halves: Halves that run in place of a place's own, by the number of the place.
        seed: Seed of everything random.
        received: True if the gradients at each ``y`` are wanted too.
        tied: True if nothing may stay untied: a direct call of ``untie`` is then refused, and every layer carries the
            gradient by its own weights.
    Raises:
        RuleTypeError: the loss is no scalar.
        RuleValueError: see ``tied``; or the loss depends on no parameter, or passes a reentrant checkpoint.
    """
    own_weights = tied_feedback(model) if tied else nullcontext()
    with running(model, places, halves, seed=seed) as calls, own_weights, torch.enable_grad():
        loss = loss_of(model)
        if tied:
            _refuse_untied(loss, model)
        weights = weights_of(model, places)
        if not loss.requires_grad:
            raise RuleValueError(f"The loss of {type(model).__name__} depends on nothing that has a gradient.")
        seen = tuple(calls)  # a checkpoint calls again in the backward pass
        at = [*weights.values(), *(call.z for call in seen), *(call.y for call in seen if received)]
        try:
            grads = torch.autograd.grad(loss, at, materialize_grads=True, allow_unused=True)
        except RuntimeError as error:
            if "use_reentrant" not in str(error):
                raise
            raise RuleValueError(
                f"{type(model).__name__} has a checkpoint with use_reentrant=True, which has no gradients of single "
                "tensors. Give it use_reentrant=False."
            ) from error
    split, end = len(weights), len(weights) + len(seen)
    return PassResult(
        loss.detach(),
        dict(zip(weights, grads[:split], strict=True)),
        seen,
        tuple(grads[split:end]),
        tuple(grads[end:]),
    )


def weights_of(model: nn.Module, places: Sequence[Place]) -> dict[str, nn.Parameter]:
    """Parameters that the loss trains, by name: not the width and height of a slope, which another objective trains."""
    slopes = [place.module.parameters() for place in places if isinstance(place.module, LearnableActivation)]
    others = {id(parameter) for parameters in slopes for parameter in parameters}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in others
    }


@contextmanager
def running(
    model: nn.Module, places: Sequence[Place], halves: Mapping[int, Pair], *, seed: int
) -> Generator[list[ActivationCall]]:
    """Context in which other halves run and all calls are recorded; model and random states are restored.

    Parameters that replace others are taken out again too.
    """
    calls: list[ActivationCall] = []
    stream = torch.Generator().manual_seed(seed + 2**32).get_state()

    def seen(run: Run, z: Tensor) -> Tensor:
        nonlocal stream
        # The call has its own view: gradients that reach z by another path, such as a residual one, do not count.
        # If nothing below learns, z starts the graph; otherwise no gradient would be passed down.
        begin = z.clone() if run.inplace else z.view_as(z)
        begin = begin if begin.requires_grad else begin.detach().requires_grad_()
        here = torch.get_rng_state() if run.pair.draws else None
        if here is not None:
            torch.set_rng_state(stream)
        y = run.own(begin.clone() if run.inplace else begin)
        if here is not None:
            stream = torch.get_rng_state()
            torch.set_rng_state(here)
        if not places[run.place].weight:
            y = y.view_as(y)
            # A call without gradients passes and receives none.
            calls.append(
                ActivationCall(run.place, run.pair, begin, y if y.requires_grad else y.detach().requires_grad_())
            )
        return z.copy_(y) if run.inplace else y.view_as(y)

    with watched(model, places, seen, halves):
        seeded(model, seed)
        yield calls


def _refuse_untied(loss: Tensor, model: nn.Module) -> None:
    """Refuse direct calls of ``untie`` in the model's code: they have no place in which a reference could be put."""
    waiting, met = [loss.grad_fn], set[object]()
    while waiting:
        node = waiting.pop()
        if node is None or node in met:
            continue
        met.add(node)
        rule = getattr(getattr(node, "pair", getattr(node, "setting", None)), "rule", None)
        if isinstance(rule, Rule) and not isinstance(rule, Tied):
            raise RuleValueError(
                f"{type(model).__name__} calls untie by itself, with the rule {rule}, where no reference can be "
                "put in its place. Put a tieless.Activation there."
            )
        waiting += [following for following, _ in node.next_functions]


def fresh(value: Any) -> Any:
    """Copy of a model's argument: an activation in place would change the original, and leave a graph at it."""

    def copied(one: Any) -> Any:
        return one.detach().clone().requires_grad_(one.requires_grad) if isinstance(one, Tensor) else one

    return tree_map(copied, value)


def loss_on(loss_fn: Loss, batch: Batch, needs: str = "loss_fn(outputs, targets) must give a scalar") -> LossOf:
    """Loss on a batch as a function of the model.

    Args:
        loss_fn: Function ``loss_fn(outputs, targets)``.
        batch: Pair ``(inputs, targets)``; the model gets a copy of the inputs.
        needs: Beginning of the message if the loss is no scalar.
    """
    inputs, targets = batch

    def loss_of(model: nn.Module) -> Tensor:
        value = loss_fn(model(fresh(inputs)), targets)
        if not isinstance(value, Tensor) or value.dim():  # pyright: ignore[reportUnnecessaryIsInstance]
            what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__  # pyright: ignore[reportUnnecessaryIsInstance]
            raise RuleTypeError(f"{needs}, got {what}. Take a mean over the batch.")
        return value

    return loss_of


def batches_of(batch: object) -> Iterator[Batch]:
    """Batches in ``(inputs, targets)``, or in an iterable of such pairs.

    Raises:
        RuleTypeError: the batch is neither.
        RuleValueError: the iterable has no batch.
    Example:
        >>> from tieless.diagnose.watching.passes import batches_of
        >>> len(list(batches_of((torch.zeros(2), torch.zeros(2))))), len(list(batches_of([("x", "t"), ("x", "t")])))
        (1, 2)
    """
    if _is_pair(batch):
        yield _filled(cast("Batch", batch))
        return
    wanted = "A batch is a pair (inputs, targets), or an iterable of such pairs"
    if isinstance(batch, Tensor) or not hasattr(batch, "__iter__"):
        raise RuleTypeError(f"{wanted}, got {type(batch).__name__}.")
    none = True
    for one in cast("Iterator[object]", batch):
        if not isinstance(one, (tuple, list)) or len(cast("tuple[Any, ...]", one)) != 2:
            raise RuleTypeError(f"{wanted}, got {type(cast('object', one)).__name__} in it.")
        none = False
        yield _filled(cast("Batch", one))
    if none:
        raise RuleValueError(f"{wanted}, got an empty one.")


def _filled(batch: Batch) -> Batch:
    """Return a batch, refused if its inputs have no elements: gradients would be 0, and agree."""
    inputs: object = batch[0]
    if isinstance(inputs, Tensor) and inputs.numel() == 0:
        raise RuleValueError(f"A batch needs samples, got inputs of shape {tuple(inputs.shape)}. Leave it out.")
    return batch


def _is_pair(batch: object) -> bool:
    if not isinstance(batch, (tuple, list)) or len(cast("tuple[Any, ...]", batch)) != 2:
        return False
    return not isinstance(cast("tuple[Any, ...]", batch)[0], (tuple, list))


def layer_of(parameter: str) -> str:
    """Name of the layer that a parameter belongs to; a quantised layer still is one layer.

    Example:
        >>> from tieless.diagnose.watching.passes import layer_of
        >>> layer_of("block.0.weight"), layer_of("block.1.parametrizations.weight.original")
        ('block.0', 'block.1')
    """
    name, found, _ = parameter.partition(".parametrizations.")
    return name if found else parameter.rpartition(".")[0]
