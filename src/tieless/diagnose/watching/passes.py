"""One forward and one backward pass of a model whose activations may do something else: watched, and left as it was."""

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
from tieless.functional import Joined, untie_joined
from tieless.nn import Activation, LearnableActivation, QuantizedWeight, tied_feedback
from tieless.rules import Rule, Tied

Loss = Callable[[Any, Any], Tensor]
Batch = tuple[Any, Any]
LossOf = Callable[[nn.Module], Tensor]


@dataclass(frozen=True, slots=True)
class Run:
    """A call of an activation, as it is about to run.

    Args:
        place: Its number.
        joined: The halves that run, with the parameters of this call.
        inplace: True if it writes to its input.
        own: ``z -> y``, which runs it as it is.
    """

    place: int
    joined: Joined
    inplace: bool
    own: Callable[[Tensor], Tensor]


Watcher = Callable[[Run, Tensor], Tensor]
"""What gets each call and its ``z``, and gives its ``y``."""


@dataclass(frozen=True, slots=True)
class ActivationCall:
    """One call of an activation.

    Args:
        place: Its number.
        joined: The halves that ran.
        z, y: Views through which alone its feedback passes.
    """

    place: int
    joined: Joined
    z: Tensor
    y: Tensor


@dataclass(frozen=True, slots=True)
class PassResult:
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
    calls: tuple[ActivationCall, ...]
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
        RuleValueError: it has none of either, or a lazy layer.
    """
    quantisers = [
        Place(name.partition(".parametrizations.")[0], part, part.joined, weight=True)
        for name, part in _modules(model)
        if isinstance(part, QuantizedWeight)
    ]
    return (inside(model, asker) if quantisers else sites_of(model, asker)) + quantisers


def _modules(model: object) -> Iterator[tuple[str, nn.Module]]:
    if isinstance(model, nn.Module):
        yield from cast("Iterator[tuple[str, nn.Module]]", model.named_modules())


@contextmanager
def watched(
    model: nn.Module, places: Sequence[Place], watcher: Watcher, halves: Mapping[int, Joined] | None = None
) -> Generator[None]:
    """Inside, each call of a place is the watcher's; afterwards the model and all random states are as they were.

    Args:
        model: Any module with these places.
        places: As ``sites`` finds them.
        watcher: Runs each call, as it is or in another way.
        halves: By the number of a place, which halves run there instead of its own.
    """
    # Untied calls in the code of modules are no children of the model.
    with torch.inference_mode(mode=False), leaving_unchanged(model, *(place.module for place in places)):
        for number, place in enumerate(places):
            # In the instance it hides the method of the class; `leaving_unchanged` takes it out again.
            vars(place.module)["forward"] = _told(number, place, (halves or {}).get(number), watcher)
        yield


def _told(number: int, place: Place, joined: Joined | None, watcher: Watcher) -> Callable[..., Tensor]:
    module = place.module
    original = cast("Callable[..., Tensor]", module.forward)
    if joined is not None and "joined" in vars(module):
        vars(module)["joined"] = joined
    elif joined is not None:
        # PyTorch's own, and slopes that learn, hold no halves that could be exchanged.
        original = _instead(joined)

    def forward(*given: Any, **named: Any) -> Tensor:
        z, *others = given or (named.pop("z" if "z" in named else "input"),)
        if not z.is_floating_point():
            return original(z, *others, **named)  # no feedback comes to it
        ran = module.with_parameters(others[0] if others else ()) if isinstance(module, Activation) else None
        inplace = bool(named.get("inplace", vars(module).get("inplace", False)))

        def own(z: Tensor) -> Tensor:
            return original(z, *others, **named)

        return watcher(Run(number, ran or joined or place.joined, inplace, own), z)

    return forward


def _instead(joined: Joined) -> Callable[..., Tensor]:
    def forward(z: Tensor, *_: Any, **__: Any) -> Tensor:
        return untie_joined(z, joined)

    return forward


def run_pass(
    model: nn.Module,
    places: Sequence[Place],
    loss_of: LossOf,
    halves: Mapping[int, Joined],
    *,
    seed: int,
    received: bool = False,
    tied: bool = False,
) -> PassResult:
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
    """The parameters that the loss trains, by name: not the width and height of a slope, which another objective trains."""
    slopes = [place.module.parameters() for place in places if isinstance(place.module, LearnableActivation)]
    others = {id(parameter) for parameters in slopes for parameter in parameters}
    return {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and id(parameter) not in others
    }


@contextmanager
def running(
    model: nn.Module, places: Sequence[Place], halves: Mapping[int, Joined], *, seed: int
) -> Generator[list[ActivationCall]]:
    """Inside, other halves run and all calls are seen; afterwards the model and all random states are as they were.

    Parameters that are put in the place of others are taken out again too.
    """
    calls: list[ActivationCall] = []
    stream = torch.Generator().manual_seed(seed + 2**32).get_state()

    def seen(run: Run, z: Tensor) -> Tensor:
        nonlocal stream
        # A view of its own: what arrives at z from elsewhere, past a residual connection, is not what this one sends.
        # Where nothing below learns, z starts the graph, or nothing would be sent.
        begin = z.clone() if run.inplace else z.view_as(z)
        begin = begin if begin.requires_grad else begin.detach().requires_grad_()
        here = torch.get_rng_state() if run.joined.draws else None
        if here is not None:
            torch.set_rng_state(stream)
        y = run.own(begin.clone() if run.inplace else begin)
        if here is not None:
            stream = torch.get_rng_state()
            torch.set_rng_state(here)
        if not places[run.place].weight:
            y = y.view_as(y)
            # What runs without gradients sends and gets none.
            calls.append(
                ActivationCall(run.place, run.joined, begin, y if y.requires_grad else y.detach().requires_grad_())
            )
        return z.copy_(y) if run.inplace else y.view_as(y)

    with watched(model, places, seen, halves):
        seeded(model, seed)
        yield calls


def _refuse_untied(loss: Tensor, model: nn.Module) -> None:
    """What is called in the model's code by itself has no place in which a reference could be put."""
    waiting, met = [loss.grad_fn], set[object]()
    while waiting:
        node = waiting.pop()
        if node is None or node in met:
            continue
        met.add(node)
        rule = getattr(getattr(node, "joined", getattr(node, "setting", None)), "rule", None)
        if isinstance(rule, Rule) and not isinstance(rule, Tied):
            raise RuleValueError(
                f"{type(model).__name__} calls untie by itself, with the rule {rule}, where no reference can be "
                "put in its place. Put a tieless.Activation there."
            )
        waiting += [following for following, _ in node.next_functions]


def fresh(value: Any) -> Any:
    """A copy of what a model is called with: an activation in place would change it, and leave a graph at it."""

    def copied(one: Any) -> Any:
        return one.detach().clone().requires_grad_(one.requires_grad) if isinstance(one, Tensor) else one

    return tree_map(copied, value)


def loss_on(loss_fn: Loss, batch: Batch, needs: str = "loss_fn(outputs, targets) must give a scalar") -> LossOf:
    """The loss on a batch as a function of the model.

    Args:
        loss_fn: ``loss_fn(outputs, targets)``.
        batch: ``(inputs, targets)``; the model gets a copy of the inputs.
        needs: How the message begins where it is no scalar.
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
    """The batches in ``(inputs, targets)``, or in an iterable of such pairs.

    Raises:
        RuleTypeError: it is neither.
        RuleValueError: there is none in it.
    Example:
        >>> from tieless.diagnose.watching.passes import batches_of
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
        >>> from tieless.diagnose.watching.passes import layer_of
        >>> layer_of("block.0.weight"), layer_of("block.1.parametrizations.weight.original")
        ('block.0', 'block.1')
    """
    name, found, _ = parameter.partition(".parametrizations.")
    return name if found else parameter.rpartition(".")[0]
