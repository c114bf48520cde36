"""Run a model and leave it as it was."""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn

from tieless.errors import RuleTypeError, RuleValueError


@contextmanager
def leaving_unchanged(*models: nn.Module) -> Generator[None]:
    """Inside, models run eagerly on copies of their buffers; afterwards they are as they were before.

    So are PyTorch's random generators, of the CPU and of the models' devices, and what attributes of their modules refer
    to, and hold if they are dicts or lists. What else a forward changes in place stays changed.

    Args:
        models: Every module in them, and every buffer.
    Example:
        >>> from tieless.diagnose.watching.untouched import leaving_unchanged
        >>> norm = torch.nn.BatchNorm1d(2)
        >>> with leaving_unchanged(norm):
        ...     y = norm(torch.rand(8, 2))
        >>> norm.running_mean, norm.num_batches_tracked
        (tensor([0., 0.]), tensor(0))
    """
    every = nn.ModuleList(dict.fromkeys(models))
    cuda = [device.index for device in devices_of(every) if device.type == "cuda"]
    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(cuda))  # pyright: ignore[reportUnknownArgumentType]
        # A model can only have been compiled where the compiler, which takes a second to import, is there.
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        places = [place for model in every for place in _places(model)]
        before = [list(place) if isinstance(place, list) else dict(place) for place in places]
        try:
            _copy_buffers(every)
            yield
        finally:
            for place, content in zip(places, before, strict=True):
                _restore(place, content)


def checked_seed(seed: int) -> None:
    """Refuse what seeds no generator.

    Raises:
        RuleTypeError, RuleValueError: it is no integer, or has 62 bits or more.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"seed must be an integer, got {seed!r}.")
    if abs(seed) >= 2**62:
        raise RuleValueError(f"seed must be below 2**62, got {seed!r}.")


def seeded(model: nn.Module, seed: int) -> None:
    """Seed those of PyTorch's generators that ``leaving_unchanged`` sets back, and no other.

    ``torch.manual_seed`` seeds those of every device, the ones that start later too.
    """
    torch.default_generator.manual_seed(seed)
    for device in devices_of(model):
        if device.type == "cuda":
            torch.cuda.default_generators[device.index].manual_seed(seed)


def devices_of(model: nn.Module) -> list[torch.device]:
    """Where its parameters and buffers are, each device once; the CPU for a model without any."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    return list(dict.fromkeys(tensor.device for tensor in tensors)) or [torch.device("cpu")]


Place = dict[str, Any] | list[Any]


def _places(model: nn.Module) -> list[Place]:
    """The dicts and lists that hold a model's state, those of ``nn.Module`` itself among them."""
    places: list[Place] = []
    for module in model.modules():
        places.append(vars(module))
        # Exactly these: how another kind of dict is to be emptied and filled again is its own affair.
        places += [value for value in vars(module).values() if type(value) in (dict, OrderedDict, defaultdict, list)]
    return places


def _restore(place: Place, content: Place) -> None:
    if isinstance(place, list):
        place[:] = content
    else:
        place.clear()
        place.update(cast("dict[str, Any]", content))


def _copy_buffers(model: nn.Module) -> None:
    """Let the forward write into copies: to write old values back would look like a change to a graph that waits."""
    copies: dict[int, Tensor] = {}
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            copies.setdefault(id(buffer), buffer.detach().clone())
            setattr(module, name, copies[id(buffer)])
