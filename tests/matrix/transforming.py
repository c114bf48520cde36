"""``torch.func`` and its kin: what they give is what a loop over ``backward`` gives, or they are refused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

from tests.matrix.asking import REFUSED, Check, compared, each, feedback_of, gradient, input_of, layers, loss, worst
from tieless import Activation, untie
from tieless.errors import SecondDerivativeError, TransformError
from tieless.functional import join

__all__ = ["CHECKS"]


def _seeded(function: Callable[[], Tensor]) -> Tensor:
    torch.manual_seed(7)
    return function()


def _gradient_of(forward: str, rule: str) -> Callable[[Tensor], Tensor]:
    return grad(lambda z: loss(untie(z, forward, rule)))


def _func_grad(forward: str, rule: str) -> str:
    function = layers(forward, rule)
    return compared(_seeded(lambda: grad(lambda z: loss(function(z)))(input_of())), gradient(function, input_of()))


def _vmap(forward: str, rule: str) -> str:
    """In both orders of the dimensions: the second gives examples that are not contiguous."""
    answers = []
    for dim in (0, 1):
        batch = input_of(6, 5, 8)
        mapped = vmap(lambda z: untie(z, forward, rule), in_dims=dim, out_dims=dim, randomness="different")
        got = gradient(mapped, batch)
        torch.manual_seed(7)
        expected = []
        for example, feedback in zip(batch.unbind(dim), feedback_of(batch).unbind(dim), strict=True):
            leaf = example.clone(memory_format=torch.preserve_format).requires_grad_()
            untie(leaf, forward, rule).backward(feedback)
            expected.append(leaf.grad)
        answers.append(compared(got, torch.stack(expected, dim)))
    return worst(answers)


def _vmap_of_grad(forward: str, rule: str) -> str:
    one, batch = _gradient_of(forward, rule), input_of(5, 4, 12)
    answers = [
        compared(
            _seeded(lambda: vmap(one, randomness="different")(batch)),
            _seeded(lambda: torch.stack([one(z) for z in batch])),
        ),
        compared(
            _seeded(lambda: vmap(one, randomness="same")(batch)),
            torch.stack([_seeded(lambda z=z: one(z)) for z in batch]),
        ),
    ]
    if join(forward, rule).draws:
        answers.append(_refusal(lambda: vmap(one)(batch), "randomness=", instead=answers[0]))
    return worst(answers)


def _nested_vmap(forward: str, rule: str) -> str:
    one, batch = _gradient_of(forward, rule), input_of(3, 2, 10)
    nested = vmap(vmap(one, randomness="different"), randomness="different")
    return compared(
        _seeded(lambda: nested(batch)),
        _seeded(lambda: torch.stack([torch.stack([one(z) for z in zs]) for zs in batch])),
    )


def _eighths(*shape: int) -> Tensor:
    """Numbers whose products and sums are exact: a batched product of matrices may round otherwise than one by one."""
    return (input_of(*shape) * 8).round() / 8


def _per_sample(forward: str, rule: str) -> str:
    """The gradient of each sample for the weights of a layer."""
    net = torch.nn.Sequential(torch.nn.Linear(12, 8), Activation(forward, rule))
    batch = _eighths(5, 12)
    with torch.no_grad():
        net[0].weight.copy_(_eighths(8, 12))
        net[0].bias.copy_(_eighths(8))
    weights = {name: value.detach() for name, value in net.named_parameters()}

    def one(values: dict[str, Tensor], sample: Tensor) -> Tensor:
        return loss(functional_call(net, values, (sample,)))

    torch.manual_seed(7)
    got = vmap(grad(one), in_dims=(None, 0), randomness="different")(weights, batch)
    torch.manual_seed(7)
    expected = [grad(one)(weights, sample) for sample in batch]
    return worst(compared(got[name], torch.stack([sample[name] for sample in expected])) for name in weights)


def _jacrev(forward: str, rule: str) -> str:
    z = input_of(2, 5)
    leaf = z.clone().requires_grad_()
    y = _seeded(lambda: untie(leaf, forward, rule))
    units = torch.eye(y.numel()).view(-1, *y.shape)
    rows = [torch.autograd.grad(y, leaf, unit, retain_graph=True)[0] for unit in units]
    expected = torch.stack(rows)
    (batched,) = torch.autograd.grad(y, leaf, units, is_grads_batched=True)
    got = _seeded(lambda: jacrev(lambda x: untie(x, forward, rule))(z)).view(expected.shape)
    return worst([compared(got, expected), compared(batched, expected)])


def _refusal(call: Callable[[], object], words: str, instead: str = REFUSED) -> str:
    """``instead`` if the call is refused in our own words."""
    try:
        call()
    except (SecondDerivativeError, TransformError) as refusal:
        return instead if words in str(refusal) else f"refused with other words: {refusal}"
    return "neither right nor refused"


def _forward_mode(forward: str, rule: str) -> str:
    def function(z: Tensor) -> Tensor:
        return untie(z, forward, rule)

    def dual() -> None:
        with forward_ad.dual_level():
            function(forward_ad.make_dual(input_of(), input_of()))

    words = "no forward-mode derivative"
    return worst(
        [
            _refusal(lambda: jvp(function, (input_of(),), (input_of(),)), words),
            _refusal(lambda: jacfwd(function)(input_of()), words),
            _refusal(dual, words),
        ]
    )


def _second(forward: str, rule: str) -> str:
    """By finite differences where the rule is linear in the feedback, and in ``torch.func``; refused elsewhere."""

    def once(z: Tensor, feedback: Tensor) -> Tensor:
        torch.manual_seed(7)
        return torch.autograd.grad(untie(z, forward, rule), z, feedback, create_graph=True)[0]

    def twice() -> Tensor:
        z = input_of().requires_grad_()
        # Refused also where the feedback does not depend on z.
        return torch.autograd.grad((once(z, feedback_of(z)).sin() + z).sum(), z)[0] - 1

    def nested() -> Tensor:
        slope = _gradient_of(forward, rule)
        return _seeded(lambda: grad(lambda z: slope(z).sin().sum())(input_of()))

    if not join(forward, rule).linear:
        return worst(_refusal(call, "no derivative") for call in (twice, nested))
    z, feedback = input_of(2, 3).double().requires_grad_(), input_of(3, 2).double().t().requires_grad_()
    try:
        gradcheck(lambda feedback: once(z, feedback), feedback)
        if "magnitude_aware" not in rule:  # whose mean is a constant to it
            gradcheck(lambda z: once(z, feedback), z)
    except GradcheckError as wrong:
        return " ".join(str(wrong).split())
    return compared(nested(), twice())


CHECKS = (
    Check("func.grad", "`torch.func.grad` against `backward`", each(_func_grad)),
    Check(
        "vmap",
        "`torch.func.vmap` over the first and the second dimension, against a loop",
        each(_vmap),
        asked="a third",
    ),
    Check(
        "vmap of grad",
        "`vmap(grad(f))` against a loop, with `randomness='different'` and `'same'`; "
        "a rule that draws is refused with `'error'`",
        each(_vmap_of_grad),
        asked="each",
    ),
    Check("nested vmap", "`vmap(vmap(grad(f)))` against two loops", each(_nested_vmap), asked="each"),
    Check(
        "per sample",
        "`vmap(grad(functional_call))`: the gradient of each sample for the weights below, against a loop",
        each(_per_sample),
        asked="each",
    ),
    Check(
        "jacrev",
        "`torch.func.jacrev` and `autograd.grad(is_grads_batched=True)` against one backward pass a row",
        each(_jacrev),
        asked="a third",
    ),
    Check("jvp", "`torch.func.jvp`, `jacfwd` and `forward_ad`: a rule says nothing of them", each(_forward_mode)),
    Check(
        "double backward",
        "`create_graph=True` against finite differences, and `grad(grad(f))` against it; refused by a rule that is not "
        "linear in the feedback",
        each(_second),
        asked="each",
    ),
)
