"""A process in which Triton interprets its kernels, for tests where there is no GPU.

Triton decides this when it is imported, for a whole process, so the tests' own is left alone. Run as a script, this file
is that process: it reads calls and writes results.
"""

import os
import pickle
import subprocess
import sys
import traceback
from contextlib import nullcontext
from unittest.mock import patch

import torch
import triton
import triton.language as tl

import tieless
from tieless.kernels import triton_bodies, triton_cuda
from tieless.ops.dispatch import choose


class Interpreter:
    """Calls functions of ``triton_cuda``, and those below, in a process of their own."""

    def __init__(self):
        self._process = subprocess.Popen(
            # numpy warns of results that are infinite or no number, which here are wanted.
            [sys.executable, "-W", "ignore::RuntimeWarning", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"TRITON_INTERPRET": "1", "TIELESS_KERNELS": "triton"},
        )

    def __call__(self, name, *arguments, **settings):
        """Result of the named function, with constants of ``triton_cuda`` set for this call."""
        pickle.dump((name, arguments, settings), self._process.stdin)
        self._process.stdin.flush()
        result, failure = pickle.load(self._process.stdout)
        assert failure is None, failure
        return result

    def close(self):
        self._process.stdin.close()
        self._process.stdout.close()
        assert self._process.wait(timeout=60) == 0


def on_gpu(name, *arguments, **settings):
    """The same on a GPU, in this process; tensors come and go by the CPU, and keep their strides."""

    def there(value):
        if not isinstance(value, torch.Tensor):
            return value
        storage = value.untyped_storage().cuda()
        moved = torch.empty(0, dtype=value.dtype, device="cuda")
        return moved.set_(storage, value.storage_offset(), value.shape, value.stride())

    def here(value):
        return tuple(map(here, value)) if isinstance(value, tuple) else value.cpu() if torch.is_tensor(value) else value

    return here(call(name, map(there, arguments), settings))


def call(name, arguments, settings):
    function = globals()[name] if name in {"gradient", "held", "words"} else getattr(triton_cuda, name)
    before = torch.are_deterministic_algorithms_enabled()
    # Fresh memory is NaN then, so that an element that no kernel writes is seen.
    torch.use_deterministic_algorithms(True)
    try:
        with patch.multiple(triton_cuda, **settings) if settings else nullcontext():
            return function(*arguments)
    finally:
        torch.use_deterministic_algorithms(before)


def gradient(forward, backward, z, feedback, seed):
    """Value and gradient of an untied activation, and the name of the kernels that ran."""
    torch.manual_seed(seed)
    z = z.detach().requires_grad_()
    y = tieless.untie(z, forward, backward)
    return y.detach(), torch.autograd.grad(y, z, feedback)[0], choose(z).__name__


def held(name, like, places, *others):
    """A function that draws, for a key which lies in memory: the middle one of three."""
    with patch.object(triton_cuda, "_key_words", lambda _: (places[1], 0, 0)):
        return getattr(triton_cuda, name)(like, 0, *others)


@triton.jit
def _words(blocks, answer, held, key0, key1, stream, draw, count: tl.constexpr):
    places = tl.arange(0, count)
    w0, w1, w2, w3 = triton_bodies._words(tl.load(blocks + places), held, key0, key1, stream, draw, True)
    tl.store(answer + places, w0.to(tl.int64))
    tl.store(answer + count + places, w1.to(tl.int64))
    tl.store(answer + 2 * count + places, w2.to(tl.int64))
    tl.store(answer + 3 * count + places, w3.to(tl.int64))


def words(blocks, key, stream, draw):
    """Four rows: the words of each Philox block, as kernels make them."""
    answer = torch.empty((4, len(blocks)), dtype=torch.int64, device=blocks.device)
    _words[(1,)](blocks, answer, *triton_cuda._key_words(key), stream, draw, count=len(blocks))
    return answer


def serve():
    """Answer calls until there are no more."""
    calls, results = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr
    torch.set_num_threads(1)
    while True:
        try:
            name, arguments, settings = pickle.load(calls)
        except EOFError:
            return
        try:
            answer = call(name, arguments, settings), None
        except Exception:  # noqa: BLE001  (it is raised where the call came from)
            answer = None, traceback.format_exc()
        pickle.dump(answer, results)
        results.flush()


if __name__ == "__main__":
    serve()
