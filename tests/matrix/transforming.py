"""``torch.func`` and its kin: what they give is what a loop over ``backward`` gives, or they are refused."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd import forward_ad, gradcheck
from torch.autograd.gradcheck import GradcheckError
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vjp, vmap

from tests.matrix.asking import (
    COMPARISONS,
    REFUSED,
    THREE_SIZES,
    TWO_SIZES,
    Check,
    compared,
    each,
    feedback_of,
    gradient,
    input_of,
    layers,
    loss,
    sizes_of,
    worst,
)
from tieless import Activation, untie
from tieless.errors import SecondDerivativeError, TransformError
from tieless.functional import pair_of

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
    if pair_of(forward, rule).draws:
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


def _rows(z: Tensor, feedbacks: Tensor, forward: str, rule: str) -> Tensor:
    """One call, and a backward pass for each feedback."""
    leaf = z.detach().clone().requires_grad_()
    y = _seeded(lambda: untie(leaf, forward, rule))
    return torch.stack([torch.autograd.grad(y, leaf, one, retain_graph=True)[0] for one in feedbacks])


def _vjp(forward: str, rule: str) -> str:
    """The pull is called when the transform has ended, twice."""
    answers = []
    for size in sizes_of(forward, rule):
        z = input_of(size)
        y, pull = _seeded(lambda z=z: vjp(lambda x: untie(x, forward, rule), z))
        (expected,) = _rows(z, feedback_of(z)[None], forward, rule)
        answers.append(compared(y, _seeded(lambda z=z: untie(z, forward, rule))))
        answers += [compared(pull(feedback_of(z))[0], expected) for _ in range(2)]
    return worst(answers)


def _jacrev(forward: str, rule: str) -> str:
    answers = []
    for size in sizes_of(forward, rule)[:2]:
        z = input_of(size)
        expected = _rows(z, torch.eye(size), forward, rule)
        for chunk in (None, max(1, size // 3)):
            jacobian = jacrev(lambda x: untie(x, forward, rule), chunk_size=chunk)
            answers.append(compared(_seeded(lambda z=z, of=jacobian: of(z)), expected))
    return worst(answers)


def _grads_batched(forward: str, rule: str) -> str:
    answers = []
    for size in sizes_of(forward, rule):
        leaf = input_of(size).requires_grad_()
        y = _seeded(lambda leaf=leaf: untie(leaf, forward, rule))
        feedbacks = feedback_of(input_of(size, 5)).t()  # a batch of which no feedback is contiguous
        (got,) = torch.autograd.grad(y, leaf, feedbacks, is_grads_batched=True)
        answers.append(compared(got, _rows(leaf, feedbacks, forward, rule)))
    return worst(answers)


def _mapped_feedback(forward: str, rule: str) -> str:
    """Of one z, mapped along dimension 1; and of a z that is mapped along dimension 1 itself, along dimension 0."""

    def one(z: Tensor, feedback: Tensor) -> Tensor:
        return grad(lambda x: (untie(x, forward, rule) * feedback).sum())(z)

    answers = []
    for size in sizes_of(forward, rule):
        batch, feedbacks = input_of(size, 3), feedback_of(input_of(size, 3))
        z, rows = batch[:, 0].clone(), feedbacks.t().contiguous()
        got = _seeded(lambda z=z, of=feedbacks: vmap(one, in_dims=(None, 1), randomness="same")(z, of))
        answers.append(compared(got, _rows(z, rows, forward, rule)))
        got = _seeded(lambda z=batch, of=rows: vmap(one, in_dims=(1, 0), randomness="different")(z, of))
        loop = zip(batch.t(), rows, strict=True)
        expected = _seeded(lambda loop=loop: torch.stack([one(z.clone(), feedback) for z, feedback in loop]))
        answers.append(compared(got, expected))
    return worst(answers)


def _refusal(call: Callable[[], object], words: str, instead: str = REFUSED) -> str:
    """``instead`` if the call is refused in our own words."""
    COMPARISONS["refused"] += instead == REFUSED
    try:
        call()
    except (SecondDerivativeError, TransformError) as refusal:
        return instead if words in str(refusal) else f"refused with other words: {refusal}"
    return "neither right nor refused"


_NO_FORWARD_MODE = "no forward-mode derivative"


def _forward_mode(forward: str, rule: str) -> str:
    def function(z: Tensor) -> Tensor:
        return untie(z, forward, rule)

    def dual() -> None:
        with forward_ad.dual_level():
            function(forward_ad.make_dual(input_of(), input_of()))

    return worst(
        [
            _refusal(lambda: jvp(function, (input_of(),), (input_of(),)), _NO_FORWARD_MODE),
            _refusal(dual, _NO_FORWARD_MODE),
        ]
    )


def _jacfwd(forward: str, rule: str) -> str:
    jacobian = jacfwd(lambda z: untie(z, forward, rule))
    return worst(_refusal(lambda of=size: jacobian(input_of(of)), _NO_FORWARD_MODE) for size in sizes_of(forward, rule))


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

    if not pair_of(forward, rule).linear:
        return worst(_refusal(call, "no derivative") for call in (twice, nested))
    z, feedback = input_of(2, 3).double().requires_grad_(), input_of(3, 2).double().t().requires_grad_()
    try:
        COMPARISONS["finite differences"] += 1
        gradcheck(lambda feedback: once(z, feedback), feedback)
        if "magnitude_aware" not in rule:  # whose mean is a constant to it
            gradcheck(lambda z: once(z, feedback), z)
    except GradcheckError as wrong:
        return " ".join(str(wrong).split())
    return compared(nested(), twice())


CHECKS = (
    Check("func.grad", "`torch.func.grad` against `backward`", each(_func_grad)),
    Check(
        "vjp",
        "`torch.func.vjp`: the value, and the pull, called twice after the transform has ended, against `backward`",
        each(_vjp),
        inputs=THREE_SIZES,
        times=9,
    ),
    Check(
        "vmap",
        "`torch.func.vmap` over the first and the second dimension, against a loop",
        each(_vmap),
        inputs="6 x 5 x 8 elements",
        times=2,
    ),
    Check(
        "vmap of grad",
        "`vmap(grad(f))` against a loop, with `randomness='different'` and `'same'`; "
        "a rule that draws is refused with `'error'`",
        each(_vmap_of_grad),
        inputs="5 x 4 x 12 elements",
        times=2,
    ),
    Check(
        "nested vmap",
        "`vmap(vmap(grad(f)))` against two loops",
        each(_nested_vmap),
        inputs="3 x 2 x 10 elements",
    ),
    Check(
        "per sample",
        "`vmap(grad(functional_call))`: the gradient of each sample for the weights below, against a loop",
        each(_per_sample),
        inputs="5 x 8 elements",
        times=2,
    ),
    Check(
        "mapped feedback",
        "`vmap(grad(f))` over the feedback: along dimension 1 beside one z, along dimension 0 beside a z that is mapped "
        "along dimension 1, against loops",
        each(_mapped_feedback),
        inputs=THREE_SIZES,
        times=6,
    ),
    Check(
        "is_grads_batched",
        "`autograd.grad(is_grads_batched=True)` of five feedbacks, none contiguous, against one backward pass each",
        each(_grads_batched),
        inputs=THREE_SIZES,
        times=3,
    ),
    Check(
        "jacrev",
        "`torch.func.jacrev`, in one and in `chunk_size` of a third, against one backward pass a row",
        each(_jacrev),
        inputs=TWO_SIZES,
        times=4,
    ),
    Check("jacfwd", "`torch.func.jacfwd`: a rule says nothing of it", each(_jacfwd), inputs=THREE_SIZES, times=3),
    Check("jvp", "`torch.func.jvp` and `forward_ad`: a rule says nothing of them", each(_forward_mode), times=2),
    Check(
        "double backward",
        "`create_graph=True` against finite differences, and `grad(grad(f))` against it; refused by a rule that is not "
        "linear in the feedback",
        each(_second),
        inputs="4 x 12 elements, and with 2 x 3 in the finite differences",
        times=2,
    ),
)
