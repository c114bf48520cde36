"""Circumstances of a training step: autocast, checkpoints, copies, threads, processes, CUDA graphs."""

from __future__ import annotations

import copy
import gc
import io
import json
import pickle
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from tests.alone import in_ranks
from tests.matrix.asking import EQUAL, Check, Outcomes, compared, each, gradient, input_of, layers, loss, worst
from tests.pairs import Pair
from tieless import Activation, GraphKeys, untie

__all__ = ["CHECKS"]


def _autocast(dtype: torch.dtype) -> Callable[[str, str], str]:
    """Below autocast z has the lower dtype; the activation keeps it, and sends what it sends without autocast."""

    def ask(forward: str, rule: str) -> str:
        x, weight = input_of(4, 8), input_of(12, 8)
        leaf = x.clone().requires_grad_()
        torch.manual_seed(7)
        with torch.autocast("cpu", dtype=dtype):
            z = torch.nn.functional.linear(leaf, weight)
            z.retain_grad()
            y = untie(z, forward, rule)
        if not z.dtype == y.dtype == dtype:
            return f"dtype {z.dtype} in, {y.dtype} out"
        loss(y).backward()
        return compared(z.grad, gradient(lambda inner: untie(inner, forward, rule), z.detach()))

    return ask


def _checkpoint(*, reentrant: bool) -> Callable[[str, str], str]:
    def ask(forward: str, rule: str) -> str:
        function = layers(forward, rule)
        got = gradient(lambda z: checkpoint(function, z, use_reentrant=reentrant), input_of())
        return compared(got, gradient(function, input_of()))

    return ask


def _resumed(forward: str, rule: str) -> str:
    """Four steps in one go, and two, whose state is written and read before the other two."""
    act = Activation(forward, rule)

    def steps(count: int) -> list[Tensor]:
        gradients = []
        for _ in range(count):
            z = input_of().requires_grad_()
            loss(act(z)).backward()
            gradients.append(z.grad)
        return gradients

    torch.manual_seed(7)
    whole = steps(4)
    torch.manual_seed(7)
    steps(2)
    file = io.BytesIO()
    torch.save({"rng": torch.get_rng_state()}, file)
    torch.rand(100)
    file.seek(0)
    torch.set_rng_state(torch.load(file, weights_only=True)["rng"])
    return worst(compared(one, other) for one, other in zip(steps(2), whole[2:], strict=True))


def _copied(duplicate: Callable[[Activation], Activation]) -> Callable[[str, str], str]:
    def ask(forward: str, rule: str) -> str:
        act = Activation(forward, rule)
        twin = duplicate(act)
        same = (twin.forward_fn, twin.rule, hash(twin.rule), repr(twin), twin.state_dict())
        if same != (act.forward_fn, act.rule, hash(act.rule), repr(act), {}):
            return f"{twin} is not {act}"
        return compared(gradient(twin, input_of()), gradient(act, input_of()))

    return ask


def _threads(pairs: Sequence[Pair]) -> Outcomes:
    """Eight at once, each at another pair: whatever a rule kept outside of itself would be another's."""

    def alone(pair: Pair) -> Tensor:
        generator = torch.Generator().manual_seed(9)
        leaf = input_of().requires_grad_()
        (layers(*pair, generator=generator)(leaf)).backward(input_of())
        return leaf.grad

    expected = {pair: alone(pair) for pair in pairs}
    outcomes = dict.fromkeys(pairs, EQUAL)
    start = threading.Barrier(8)

    def work(number: int) -> None:
        first = number * len(pairs) // 8
        start.wait()
        for pair in (*pairs[first:], *pairs[:first]):
            answer = compared(alone(pair), expected[pair])
            if answer != EQUAL:
                outcomes[pair] = answer

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return outcomes


def _processes(pairs: Sequence[Pair]) -> Outcomes:
    with tempfile.TemporaryDirectory() as folder:
        in_ranks(_rank, list(pairs), folder)
        answers = json.loads((Path(folder) / "answers").read_text())
    return dict(zip(pairs, answers, strict=True))


def _rank(rank: int, pairs: list[Pair], folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    answers = _answers(rank, pairs)
    if rank == 0:
        (Path(folder) / "answers").write_text(json.dumps(answers))
    # A model keeps the group, and with it gloo's threads: one that wants the interpreter while that shuts down ends the
    # process. So models go before the group does, and no group before both processes are done with it.
    gc.collect()
    distributed.barrier()
    distributed.destroy_process_group()


def _answers(rank: int, pairs: list[Pair]) -> list[str]:
    answers = []
    for forward, rule in pairs:
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(12, 8), Activation(forward, rule), torch.nn.Linear(8, 3))
        twin = copy.deepcopy(net)
        x = input_of(2, 4, 12)[rank]
        for model in (DistributedDataParallel(net), twin):
            torch.manual_seed(rank)
            loss(model(x)).backward()
        means = []
        for parameter in twin.parameters():
            mean = parameter.grad / 2
            distributed.all_reduce(mean)
            means.append(mean)
        answers.append(worst(compared(own.grad, mean) for own, mean in zip(net.parameters(), means, strict=True)))
    return answers


def _cuda_graph(forward: str, rule: str) -> str:
    z, feedback = input_of().cuda(), input_of().cuda()

    def step() -> Tensor:
        leaf = z.detach().requires_grad_()
        return torch.autograd.grad(untie(leaf, forward, rule), leaf, feedback)[0]

    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        step()
    torch.cuda.synchronize()
    graph, keys = torch.cuda.CUDAGraph(), GraphKeys()
    with torch.cuda.graph(graph), keys:
        captured = step()
    z.neg_()
    before = torch.get_rng_state()
    keys.replay(graph)
    torch.set_rng_state(before)
    return compared(captured, step())


def _no_gpu() -> str:
    return "" if torch.cuda.is_available() else "needs a GPU"


CHECKS = (
    Check(
        "autocast (bfloat16)",
        "below `torch.autocast`, in the lower dtype",
        each(_autocast(torch.bfloat16)),
        inputs="4 x 12 elements",
    ),
    Check("autocast (float16)", "as above", each(_autocast(torch.float16)), inputs="4 x 12 elements"),
    Check("checkpoint", "`checkpoint(use_reentrant=False)`", each(_checkpoint(reentrant=False))),
    Check("checkpoint (reentrant)", "`checkpoint(use_reentrant=True)`", each(_checkpoint(reentrant=True))),
    Check("resumed", "two of four steps, from a saved state of the generator", each(_resumed), times=2),
    Check("deepcopy", "the copy of a module", each(_copied(copy.deepcopy))),
    Check("pickle", "a module that was pickled", each(_copied(lambda act: pickle.loads(pickle.dumps(act))))),
    Check("threads", "eight Python threads at once, each at another pair", _threads, times=8),
    Check(
        "DDP",
        "two processes over gloo: the mean of what each of them sends",
        _processes,
        most=40,
        inputs="4 x 8 elements",
        times=4,
    ),
    Check(
        "CUDA graph",
        "a captured step, replayed on another input; where a half draws, by `GraphKeys`",
        each(_cuda_graph),
        missing=_no_gpu,
    ),
)
