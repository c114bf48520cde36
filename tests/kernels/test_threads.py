"""Kernels among threads and processes: any number of PyTorch's threads, Python's own, and children of a fork."""

import os
import threading

import pytest
import torch

from tests.alone import run_alone
from tieless import untie
from tieless.kernels import numba_cpu
from tieless.kernels.threads import runtime

SIZE = 2**17 + 3
RULES = [
    ("relu", "full_jam"),
    ("heaviside", "rectangular"),
    ("sign", 'rectangular_jam(-1, 1, replace="magnitude")'),
    ("gelu", "regelu2"),
    ("staircase(4)", "rectangular(-1, 1) >> noise(0.1) >> full_jam"),
    ("heaviside", "atan"),
    ("relu", "positive_jam"),
    ("silu", "few_bit(3)"),
]


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def _operands(seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SIZE, generator=generator).requires_grad_(), torch.randn(SIZE, generator=generator)


def _both_ways(forward, backward, seed, between=lambda: None):
    """Value and gradient; ``between`` is called between the two passes.

    PyTorch's own gelu and silu may round otherwise at the end of a thread's share, so their values are not compared.
    """
    z, feedback = _operands(seed)
    y = untie(z, forward, backward, generator=torch.Generator().manual_seed(seed))
    between()
    gradient = torch.autograd.grad(y, z, feedback)[0]
    return (gradient,) if forward in {"gelu", "silu"} else (y.detach(), gradient)


def _same(one, other):
    return all(map(torch.equal, one, other))


@pytest.fixture
def entered(monkeypatch):
    """In how many threads each parallel region was to run."""
    regions = []
    parallel = runtime().parallel
    if parallel is None:
        pytest.skip("no OpenMP: there is one thread")

    def counted(address, arguments, threads, flags):
        regions.append(threads)
        parallel(address, arguments, threads, flags)

    monkeypatch.setattr(runtime(), "parallel", counted)
    return regions


@pytest.mark.parametrize(("forward", "backward"), RULES)
def test_any_number_of_threads_gives_the_same_bits(forward, backward, entered):
    torch.set_num_threads(1)
    expected = _both_ways(forward, backward, 1)
    assert not entered
    for threads in (2, 3, 8):
        torch.set_num_threads(threads)
        assert _same(_both_ways(forward, backward, 1), expected)
        assert max(entered) == min(threads, -(-SIZE // numba_cpu._GRAIN)) or "jam" in backward
        entered.clear()


@pytest.mark.parametrize(("forward", "backward"), RULES)
@pytest.mark.parametrize(("first", "then"), [(1, 8), (8, 1), (2, 3)])
def test_the_number_may_change_between_the_passes(forward, backward, first, then):
    torch.set_num_threads(1)
    expected = _both_ways(forward, backward, 2)
    torch.set_num_threads(first)
    assert _same(_both_ways(forward, backward, 2, lambda: torch.set_num_threads(then)), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_eight_python_threads_compute_what_each_does_alone(threads):
    """At the same time, each with a rule and a generator of its own, in four rounds."""
    torch.set_num_threads(threads)
    rounds = range(4)
    alone = [[_both_ways(*case, seed) for seed in rounds] for case in RULES]
    together = [[] for _ in RULES]
    barrier = threading.Barrier(len(RULES), timeout=60)

    def work(case, results):
        torch.set_num_threads(threads)  # OpenMP keeps the number for each thread
        for seed in rounds:
            barrier.wait()
            results.append(_both_ways(*case, seed))

    workers = [threading.Thread(target=work, args=pair, daemon=True) for pair in zip(RULES, together, strict=True)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(timeout=120)
    assert not any(worker.is_alive() for worker in workers)
    for one, other in zip(alone, together, strict=True):
        assert len(one) == len(other)
        assert all(map(_same, one, other))


# Forks, each in a process of its own: one that hangs is ended and is a failure.

START = f"""
import multiprocessing, sys, torch
from tieless import untie
from tieless.kernels.threads import runtime

def both_ways():
    z = numbers.detach().requires_grad_()
    y = untie(z, "heaviside", 'rectangular_jam(-1, 1)', generator=torch.Generator().manual_seed(3))
    return y.detach().numpy(), torch.autograd.grad(y, z, feedback)[0].numpy()

def same(one, other):
    return all((a == b).all() for a, b in zip(one, other))

torch.set_num_threads(1)
# All that PyTorch does with more than one element is done here: where kernels hang, it would hang itself.
numbers, feedback = torch.linspace(-2, 2, {SIZE}), torch.linspace(1, 3, {SIZE})
torch.set_num_threads(2)
"""
PROGRAMS = {
    "after parallel regions": """
expected = both_ways()
process = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(17 if same(both_ways(), expected) else 1))
process.start()
process.join(60)
assert process.exitcode == 17, process.exitcode
assert same(both_ways(), expected)
""",
    "before any, in parent and child": """
def child():
    torch.set_num_threads(2)
    first = both_ways()
    sys.exit(17 if same(first, both_ways()) else 1)
process = multiprocessing.get_context("fork").Process(target=child)
process.start()
process.join(60)
assert process.exitcode == 17, process.exitcode
""",
    "a child of a child": """
expected = both_ways()
context = multiprocessing.get_context("fork")
def grandchild():
    sys.exit(17 if same(both_ways(), expected) else 1)
def child():
    same(both_ways(), expected)
    process = context.Process(target=grandchild)
    process.start()
    process.join(60)
    sys.exit(process.exitcode)
process = context.Process(target=child)
process.start()
process.join(60)
assert process.exitcode == 17, process.exitcode
""",
    "workers of a data loader": """
expected = both_ways()
class Activations(torch.utils.data.Dataset):
    def __len__(self):
        return 8
    def __getitem__(self, place):
        torch.set_num_threads(1 + place % 2)
        return both_ways()
loader = torch.utils.data.DataLoader(
    Activations(), batch_size=None, num_workers=2, multiprocessing_context="fork", timeout=60
)
for result in loader:
    assert same([tensor.numpy() for tensor in result], expected)
""",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=list(PROGRAMS))
def test_a_fork(program):
    """Threads do not live on in the child of a fork, and GNU's OpenMP waits for them there for ever."""
    run_alone(START + program, warnings="ignore::DeprecationWarning", timeout=120)
