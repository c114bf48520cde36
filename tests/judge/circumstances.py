"""Circumstances of a tensor and a call in PyTorch. Each gives the results that the judge checks."""

from __future__ import annotations

import copy
import io
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.func import grad, jacfwd, jacrev, jvp, vjp, vmap
from torch.utils._pytree import tree_map_only
from torch.utils.checkpoint import checkpoint

import tieless
from tests.judge.numbers import Array
from tests.judge.programs import Circumstance, Given, Result
from tests.judge.verdict import WrongError
from tieless.errors import TransformError

__all__ = ["CIRCUMSTANCES", "RARE"]


def _sent(y: Tensor, z: Tensor, feedback: Tensor, **settings: bool) -> Tensor:
    (gradient,) = torch.autograd.grad(y, z, feedback, **settings)
    return gradient


def _through(given: Given, call: Callable[[Tensor], Tensor]) -> Iterator[Result]:
    """Call, and one backward pass."""
    given.seeded()
    y = call(given.leaf)
    yield given.whole(y, _sent(y, given.leaf, given.sent))


def plain(given: Given) -> Iterator[Result]:
    return _through(given, given.untie)


def with_generator(given: Given) -> Iterator[Result]:
    generator = torch.Generator().manual_seed(given.program.seed)
    return _through(given, lambda z: given.untie(z, generator))


def twice(given: Given) -> Iterator[Result]:
    given.seeded()
    y = given.untie(given.leaf)
    for keep in (True, False):
        yield given.whole(y, _sent(y, given.leaf, given.sent, retain_graph=keep))


def two_calls(given: Given) -> Iterator[Result]:
    """Backward passes in the other order than the calls."""
    given.seeded()
    outputs = [given.untie(given.leaf) for _ in range(2)]
    for call in (1, 0):
        yield given.whole(outputs[call], _sent(outputs[call], given.leaf, given.sent), call)


def accumulated(given: Given) -> Iterator[Result]:
    """Call ``backward``, through a view of a leaf."""
    given.seeded()
    y = given.untie(given.leaf.view_as(given.leaf))
    y.backward(given.sent)
    yield Result(y, given.leaf.grad, given.z, given.feedback)


def no_grad(given: Given) -> Iterator[Result]:
    given.seeded()
    with torch.no_grad():
        yield given.whole(given.untie(given.leaf), None)


def inference_mode(given: Given) -> Iterator[Result]:
    """Values in inference mode, then a call that trains."""
    given.seeded()
    with torch.inference_mode():
        yield given.whole(given.untie(given.leaf.detach()).clone(), None)
    yield from plain(given)


def made_in_inference_mode(given: Given) -> Iterator[Result]:
    """A module that was made and used in inference mode trains after it."""
    with torch.inference_mode():
        act = tieless.Activation(given.program.forward, given.program.rule)
        act(given.leaf.detach())
    return _through(given, act)


def checkpointed(given: Given) -> Iterator[Result]:
    return _through(given, lambda z: checkpoint(given.untie, z, use_reentrant=False))


def checkpointed_reentrant(given: Given) -> Iterator[Result]:
    given.seeded()
    y = checkpoint(given.untie, given.leaf, use_reentrant=True)
    y.backward(given.sent)
    yield given.whole(y, None)
    yield Result(None, given.leaf.grad, given.z, given.feedback)


def saved_on_cpu(given: Given) -> Iterator[Result]:
    def call(z: Tensor) -> Tensor:
        with save_on_cpu():
            return given.untie(z)

    return _through(given, call)


def packed(given: Given) -> Iterator[Result]:
    def call(z: Tensor) -> Tensor:
        with tieless.packed_activations(min_elements=1):
            return given.untie(z)

    return _through(given, call)


def _hooked(pack: Callable[[Tensor], object], unpack: Callable[..., Tensor]) -> Circumstance:
    """Circumstance in which a saved tensor comes back as another tensor with the same numbers."""

    def run(given: Given) -> Iterator[Result]:
        def call(z: Tensor) -> Tensor:
            with saved_tensors_hooks(pack, unpack):
                return given.untie(z)

        return _through(given, call)

    return run


def _in_bytes(tensor: Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(tensor.detach().clone(), file)
    return file.getvalue()


def _negated(tensor: Tensor) -> Tensor:
    return torch._neg_view(-tensor) if tensor.is_floating_point() else tensor


def autocast(given: Given) -> Iterator[Result]:
    def call(z: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return given.untie(z)

    return _through(given, call)


def deepcopied(given: Given) -> Iterator[Result]:
    return _through(given, copy.deepcopy(tieless.Activation(given.program.forward, given.program.rule)))


def pickled(given: Given) -> Iterator[Result]:
    act = tieless.Activation(given.program.forward, given.program.rule)
    return _through(given, pickle.loads(pickle.dumps(act)))


def threaded(given: Given) -> Iterator[Result]:
    """Call in one thread, backward pass in another."""
    results: list[Tensor | BaseException] = []

    def keep(function: Callable[[], Tensor]) -> None:
        try:
            results.append(function())
        except BaseException as error:  # noqa: BLE001  (it is raised where the thread is waited for)
            results.append(error)

    def elsewhere(function: Callable[[], Tensor]) -> Tensor:
        thread = threading.Thread(target=keep, args=(function,))
        thread.start()
        thread.join()
        result = results.pop()
        if isinstance(result, BaseException):
            raise result
        return result

    given.seeded()
    y = elsewhere(lambda: given.untie(given.leaf))
    yield given.whole(y, elsewhere(lambda: _sent(y, given.leaf, given.sent)))


def anomaly(given: Given) -> Iterator[Result]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns that it is slow
        with torch.autograd.detect_anomaly(check_nan=False):
            yield from plain(given)


def default_meta(given: Given) -> Iterator[Result]:
    with torch.device("meta"):
        yield from plain(given)


def meta(given: Given) -> Iterator[Result]:
    leaf = given.leaf.detach().to("meta").requires_grad_()
    given.seeded()
    y = given.untie(leaf)
    yield Result(y, _sent(y, leaf, given.sent.to("meta")), given.z, given.feedback, like=leaf)


def fake(given: Given) -> Iterator[Result]:
    """Shapes and layouts under a mode in which tensors have no numbers."""
    mode = FakeTensorMode()
    leaf = mode.from_tensor(given.leaf.detach().resolve_neg()).requires_grad_()
    sent = mode.from_tensor(_tensor(given.feedback, given))
    with mode:
        y = given.untie(leaf)
        gradient = _sent(y, leaf, sent)
    like, *parts = (
        torch.empty_strided(part.shape, part.stride(), dtype=part.dtype, device="meta") for part in (leaf, y, gradient)
    )
    yield Result(*parts, given.z, given.feedback, like=like)


class _Lazy(Tensor):
    """Wrapper that unwraps at the first operation, as the result of a collective of torch.distributed does."""

    @staticmethod
    def __new__(cls, inner: Tensor) -> _Lazy:
        self = Tensor._make_wrapper_subclass(
            cls, inner.shape, dtype=inner.dtype, device=inner.device, strides=inner.stride()
        )
        self.inner = inner
        return self

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        args, kwargs = tree_map_only(_Lazy, lambda wrapper: wrapper.inner, (args, kwargs or {}))
        return func(*args, **kwargs)


class _Wrap(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return _Lazy(x.detach().resolve_neg())

    @staticmethod
    def backward(ctx, feedback: Tensor) -> Tensor:
        return feedback


def wrapped(given: Given) -> Iterator[Result]:
    given.seeded()
    y = given.untie(_Wrap.apply(given.leaf))
    gradient = _sent(y, given.leaf, given.sent)
    unwrapped = [part.inner if isinstance(part, _Lazy) else part for part in (y, gradient)]
    yield Result(*unwrapped, given.z, given.feedback)


# Transforms.


def func_grad(given: Given) -> Iterator[Result]:
    given.seeded()
    gradient = grad(lambda z: (given.untie(z) * given.sent).sum())(given.leaf.detach())
    yield Result(None, gradient, given.z, given.feedback)


def func_vjp(given: Given) -> Iterator[Result]:
    """Call the pull twice when the transform has ended."""
    given.seeded()
    y, pull = vjp(given.untie, given.leaf.detach())
    for _ in range(2):
        yield Result(y, pull(given.sent)[0], given.z, given.feedback)


def _rows(given: Given, gradients: Tensor, feedbacks: Array, y: Tensor | None = None) -> Iterator[Result]:
    """Call, and a backward pass for each feedback."""
    for row, feedback in zip(gradients, feedbacks, strict=True):
        yield Result(y, row, given.z, feedback)


def _three(given: Given) -> Array:
    """Feedback, and two others."""
    return np.stack([given.feedback, -given.feedback, given.feedback * 0.5])


def _tensor(numbers: Array, given: Given) -> Tensor:
    return torch.from_numpy(np.array(numbers)).to(given.leaf.dtype)


def batched_grads(given: Given) -> Iterator[Result]:
    given.seeded()
    y = given.untie(given.leaf)
    feedbacks = _three(given)
    gradients = _sent(y, given.leaf, _tensor(feedbacks, given), is_grads_batched=True)
    yield from _rows(given, gradients, _doubles(feedbacks, given))


def _doubles(numbers: Array, given: Given) -> Array:
    """Numbers that a tensor of the program's dtype holds of these."""
    return _tensor(numbers, given).double().numpy()


def mapped_pull(given: Given) -> Iterator[Result]:
    """Map the pull of ``vjp`` by ``vmap`` along the last dimension, as ``jacrev`` does."""
    given.seeded()
    y, pull = vjp(given.untie, given.leaf.detach())
    feedbacks = _tensor(_three(given), given).movedim(0, -1)
    (gradients,) = vmap(pull, in_dims=-1)(feedbacks)
    yield from _rows(given, gradients, feedbacks.movedim(-1, 0).double().numpy(), y)


def _jacrev(chunk: int | None) -> Circumstance:
    def run(given: Given) -> Iterator[Result]:
        if not given.z.size:
            return  # which PyTorch itself has no Jacobian of
        given.seeded()
        jacobian = jacrev(given.untie, chunk_size=chunk)(given.leaf.detach())
        count = given.z.size
        units = np.eye(count).reshape(count, *given.z.shape)
        yield from _rows(given, jacobian.reshape(count, *given.z.shape), units)

    return run


def _examples(given: Given, dim: int, gradients: Tensor, *, keys: str) -> Iterator[Result]:
    """Calls of their own for each entry of a dimension."""
    entries = zip(np.moveaxis(given.z, dim, 0), np.moveaxis(given.feedback, dim, 0), gradients, strict=True)
    for place, (z, feedback, gradient) in enumerate(entries):
        yield Result(None, gradient, z, feedback, place if keys == "different" else 0)


def _mapped(dim: int, keys: str) -> Circumstance:
    """Circumstance ``vmap(grad(f))`` over a dimension of ``z`` and of the feedback."""

    def run(given: Given) -> Iterator[Result]:
        if not given.z.ndim or not given.z.size:
            return

        def one(z: Tensor, feedback: Tensor) -> Tensor:
            return grad(lambda x: (given.untie(x) * feedback).sum())(z)

        given.seeded()
        axis = dim % given.z.ndim
        gradients = vmap(one, in_dims=axis, randomness=keys)(given.leaf.detach(), given.sent)
        yield from _examples(given, axis, gradients, keys=keys)

    return run


def mapped_feedback(given: Given) -> Iterator[Result]:
    """Per-sample gradients of one input: the feedback alone is mapped, along its last dimension."""

    def one(feedback: Tensor) -> Tensor:
        return grad(lambda z: (given.untie(z) * feedback).sum())(given.leaf.detach())

    given.seeded()
    feedbacks = _tensor(_three(given), given).movedim(0, -1)
    gradients = vmap(one, in_dims=-1, randomness="same")(feedbacks)
    yield from _rows(given, gradients, feedbacks.movedim(-1, 0).double().numpy())


def mapped_value(given: Given) -> Iterator[Result]:
    """Backward pass through ``vmap``, mapped along the last dimension."""
    if not given.z.ndim or not given.z.size:
        return
    given.seeded()
    y = vmap(given.untie, in_dims=-1, out_dims=-1, randomness="different")(given.leaf)
    gradient = _sent(y, given.leaf, given.sent)
    entries = [part.detach().movedim(-1, 0) for part in (y, gradient)]
    numbers = [np.moveaxis(part, -1, 0) for part in (given.z, given.feedback)]
    for place in range(given.z.shape[-1]):
        yield Result(*(part[place] for part in entries), *(part[place] for part in numbers), place)


def nested_vmap(given: Given) -> Iterator[Result]:
    if given.z.ndim < 2 or not given.z.size:
        return

    def one(z: Tensor, feedback: Tensor) -> Tensor:
        return grad(lambda x: (given.untie(x) * feedback).sum())(z)

    given.seeded()
    nested = vmap(vmap(one, in_dims=-1, randomness="different"), randomness="different")
    gradients = nested(given.leaf.detach(), given.sent)
    z, feedback = (np.moveaxis(part, -1, 1) for part in (given.z, given.feedback))
    for place, (i, j) in enumerate(np.ndindex(z.shape[:2])):
        yield Result(None, gradients[i, j], z[i, j], feedback[i, j], place)


def forward_mode(given: Given) -> Iterator[Result]:
    """Refusals by every entry point."""
    z = given.leaf.detach().clone()  # PyTorch itself refuses an expanded tangent
    for name, call in {
        "jvp": lambda: jvp(given.untie, (z,), (torch.ones_like(z),)),
        "jacfwd": lambda: jacfwd(given.untie, randomness="same")(z),
    }.items():
        try:
            call()
        except TransformError:
            continue
        raise WrongError(f"{name} is not refused")
    return iter(())


def compiled(given: Given) -> Iterator[Result]:
    tieless.Activation(given.program.forward, given.program.rule)  # refused here, not by Dynamo in words of its own
    torch._dynamo.reset()
    return _through(given, torch.compile(given.untie, fullgraph=True, backend="aot_eager"))


CIRCUMSTANCES: dict[str, Circumstance] = {
    "accumulated": accumulated,
    "anomaly": anomaly,
    "autocast": autocast,
    "batched_grads": batched_grads,
    "checkpointed": checkpointed,
    "checkpointed_reentrant": checkpointed_reentrant,
    "compiled": compiled,
    "deepcopied": deepcopied,
    "default_meta": default_meta,
    "fake": fake,
    "forward_mode": forward_mode,
    "func_grad": func_grad,
    "func_vjp": func_vjp,
    "hooks_bytes": _hooked(_in_bytes, lambda data: torch.load(io.BytesIO(data))),
    "hooks_expanded": _hooked(lambda tensor: tensor, lambda tensor: tensor[None].expand(2, *tensor.shape)[1]),
    "hooks_negated": _hooked(_negated, lambda tensor: tensor),
    "hooks_strided": _hooked(lambda tensor: torch.stack([tensor, tensor], -1), lambda pair: pair[..., 1]),
    "inference_mode": inference_mode,
    "jacrev": _jacrev(None),
    "jacrev_rows": _jacrev(1),
    "made_in_inference_mode": made_in_inference_mode,
    "mapped_feedback": mapped_feedback,
    "mapped_first": _mapped(0, "different"),
    "mapped_last": _mapped(-1, "different"),
    "mapped_same": _mapped(1, "same"),
    "mapped_pull": mapped_pull,
    "mapped_value": mapped_value,
    "meta": meta,
    "nested_vmap": nested_vmap,
    "no_grad": no_grad,
    "packed": packed,
    "pickled": pickled,
    "plain": plain,
    "saved_on_cpu": saved_on_cpu,
    "threaded": threaded,
    "twice": twice,
    "two_calls": two_calls,
    "with_generator": with_generator,
    "wrapped": wrapped,
}
RARE = {"compiled"}
"""Circumstances that take a second."""
