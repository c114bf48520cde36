"""``alignment``: untied gradients (custom gradients) beside tied ones, layer by layer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from tieless.diagnose.gradients.compare import Sums, comparison, sums_of
from tieless.diagnose.gradients.perturbed import Estimated, estimated, sums_with
from tieless.diagnose.gradients.records import AlignmentReport
from tieless.diagnose.gradients.references import (
    Reference,
    checked,
    checked_confidence,
    sigmas,
    smoothed,
    tied_or,
    words_for,
)
from tieless.diagnose.watching.passes import (
    Batch,
    Loss,
    PassResult,
    batches_of,
    layer_of,
    loss_on,
    places_of,
    run_pass,
    weights_of,
)
from tieless.diagnose.watching.untouched import checked_seed
from tieless.errors import RuleTypeError, RuleValueError
from tieless.nn import tied_feedback


def alignment(
    model: nn.Module,
    loss_fn: Loss,
    batch: Batch | Iterable[Batch],
    *,
    reference: Reference = "smoothed",
    sigma: float = 0.5,
    draws: int = 64,
    confidence: float = 0.95,
    seed: int = 0,
) -> AlignmentReport:
    """Compare the gradient that a model's rules give with the tied one, for the weights and for the feedback.

    The tied gradient is that of calculus (ordinary backpropagation); the feedback is the gradient that an activation
    passes down. For each batch the model runs forward and backward as it is and once more with the rule ``tied`` in
    every activation and every quantised weight; dropout draws the same in both. A forward that is flat almost
    everywhere has no useful tied gradient. The argument ``reference`` chooses a substitute:

    - ``"smoothed"``: the gradient of another network, in which each flat forward is ``E[forward(z + sigma N(0, 1))]``.
      The gradient is exact, by that function's own derivative, but it is not the gradient of the network that is
      trained;
    - ``"perturbation"``: the gradient of the expected loss of this network, with such noise at the ``z`` of each flat
      forward. It is estimated from ``draws`` antithetic pairs of passes, without bias, for weights and feedback alike.
      The products and squares that give cosine, norms and deviation have no bias either; the agreement of signs is that
      of the mean estimate, and the scatter of the estimate moves it towards a half. The number of draws must exceed the
      root of the number of elements for a useful estimate; if squares come out negative, the figures are NaN.

    The model is left as it was, bit for bit: parameters, gradients, buffers, modes, hooks, random states.

    Args:
        model: Model with one activation or more: ``tieless.Activation``, ``LearnableActivation``, activations that
            ``convert`` has untied, PyTorch's activations, LIF cells.
        loss_fn: Function ``loss_fn(model(inputs), targets)`` that gives a scalar.
        batch: Pair ``(inputs, targets)``, or an iterable of such pairs.
        reference: Substitute for the tied gradient of flat forwards.
        sigma: Sigma of the noise, in standard deviations of the ``z`` that the activation sees in the batch.
        draws: Number of pairs for each batch, two or more; used by ``"perturbation"`` alone.
        confidence: Confidence level of the intervals, between 0 and 1. They are Student's intervals, over batches.
        seed: Seed of everything random: jams (random multipliers), dropout, noise. The n-th batch has ``seed + n``.
    Returns:
        Record that prints as a table; weights are in ``.whole`` and ``.layers[name]``, feedback is in ``.feedback``, in
        the same form.
    Raises:
        RuleTypeError: the model is no module, the batch no pair, or the loss no scalar.
        RuleValueError: there is no activation, an argument is out of range, the model calls ``untie`` directly, a flat
            forward cannot be smoothed, or a checkpoint in the model is reentrant.
    Example:
        >>> _ = torch.manual_seed(0)
        >>> net = torch.nn.Sequential(torch.nn.Linear(8, 32), tl.Activation("relu", "constant"), torch.nn.Linear(32, 3))
        >>> batch = torch.randn(64, 8), torch.randint(0, 3, (64,))
        >>> found = tl.alignment(net, torch.nn.functional.cross_entropy, batch)
        >>> round(found.layers["0"].cosine, 2), round(found.layers["2"].cosine, 2), round(found.whole.cosine, 2)
        (0.57, 1.0, 0.93)
    """
    checked(reference, sigma)
    checked_confidence(confidence)
    checked_seed(seed)
    if isinstance(draws, bool) or not isinstance(draws, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"draws must be an integer of 2 or more, got {draws!r}.")
    if draws < 2:
        raise RuleValueError(f"draws must be 2 or more, got {draws}: one estimate has no scatter to be told from.")
    places = places_of(model, "alignment")
    layers = list(dict.fromkeys(map(layer_of, weights_of(model, places))))
    weights: list[list[Sums]] = []
    feedback: list[list[Sums]] = []
    called: list[int] = []
    references: tuple[tuple[str, str], ...] = ()
    losses: list[float] = []
    for number, one in enumerate(batches_of(batch)):
        loss_of = loss_on(loss_fn, one)
        seen = run_pass(model, places, loss_of, {}, seed=seed + number)
        sent = seen.by_place()
        if number == 0:
            called = sorted(sent)
        if reference == "perturbation":
            blur = sigmas(places, seen, sigma)
            with tied_feedback(model):
                known = estimated(model, places, loss_of, blur, width=sigma, draws=draws, seed=seed + number)
            by_weight, by_place = known
            weights.append([_estimated_layer(layer, seen, by_weight) for layer in layers])
            feedback.append([sums_with(sent[place], by_place[place]) for place in called])
        else:
            others, blur = smoothed(places, seen, sigma)
            tied = run_pass(model, places, loss_of, tied_or(places, others), seed=seed + number, tied=True)
            mine, theirs = _by_layer(seen.weights, layers), _by_layer(tied.weights, layers)
            weights.append(sums_of([list(zip(mine[layer], theirs[layer], strict=True)) for layer in layers]))
            feedback.append(_feedback(called, sent, tied.by_place()))
        references = references or words_for(places, blur, reference, sigma, draws)
        losses.append(float(seen.loss))
    return AlignmentReport(
        type(model).__name__,
        comparison(layers, weights, confidence),
        comparison([places[place].name for place in called], feedback, confidence),
        references,
        len(losses),
        confidence,
        sum(losses) / len(losses),
    )


def _by_layer(weights: dict[str, Tensor], layers: Sequence[str]) -> dict[str, list[Tensor]]:
    found: dict[str, list[Tensor]] = {layer: [] for layer in layers}
    for name, gradient in weights.items():
        found[layer_of(name)].append(gradient)
    return found


def _estimated_layer(layer: str, seen: PassResult, known: dict[str, Estimated]) -> Sums:
    names = [name for name in seen.weights if layer_of(name) == layer]
    parts = [sums_with([seen.weights[name]], known[name]) for name in names]
    total = parts[0]
    for part in parts[1:]:
        total = total.plus(part)
    return total


def _feedback(called: Sequence[int], sent: dict[int, list[Tensor]], tied: dict[int, list[Tensor]]) -> list[Sums]:
    if list(called) != sorted(sent) or {place: len(calls) for place, calls in sent.items()} != {
        place: len(calls) for place, calls in tied.items()
    }:
        raise RuleValueError(
            "alignment needs a model that calls the same activations in each pass, as often as in the first."
        )
    return sums_of([list(zip(sent[place], tied[place], strict=True)) for place in called])
