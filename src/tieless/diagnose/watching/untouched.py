"""Runs of a model that leave it as it was."""

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
    """Context in which models run eagerly on copies of their buffers; afterwards they are as they were before.

    PyTorch's random generators, of the CPU and of the models' devices, are restored too, and so are the attributes of
    the modules, with the contents of those that are dicts or lists. Everything else that a forward changes in place
    stays changed.

    Args:
        models: Models, with every module and buffer in them.
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
    """Refuse a seed that no generator takes.

    Raises:
        RuleTypeError, RuleValueError: the seed is no integer, or has 62 bits or more.
    """
    if isinstance(seed, bool) or not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise RuleTypeError(f"seed must be an integer, got {seed!r}.")
    if abs(seed) >= 2**62:
        raise RuleValueError(f"seed must be below 2**62, got {seed!r}.")


def seeded(model: nn.Module, seed: int) -> None:
    """Seed those of PyTorch's generators that ``leaving_unchanged`` restores, and no other.

    ``torch.manual_seed`` would seed those of every device, also those that start later.
    """
    torch.default_generator.manual_seed(seed)
    for device in devices_of(model):
        if device.type == "cuda":
            torch.cuda.default_generators[device.index].manual_seed(seed)


def devices_of(model: nn.Module) -> list[torch.device]:
    """Devices of its parameters and buffers, each once; the CPU for a model without any."""
    tensors: list[Tensor] = [*model.parameters(), *model.buffers()]
    return list(dict.fromkeys(tensor.device for tensor in tensors)) or [torch.device("cpu")]


Place = dict[str, Any] | list[Any]


def _places(model: nn.Module) -> list[Place]:
    """Dicts and lists that hold a model's state, those of ``nn.Module`` itself among them."""
    places: list[Place] = []
    for module in model.modules():
        places.append(vars(module))
        # Only these types: another kind of dict may need to be emptied and filled in another way.
        places += [value for value in vars(module).values() if type(value) in (dict, OrderedDict, defaultdict, list)]
    return places


def _restore(place: Place, content: Place) -> None:
    if isinstance(place, list):
        place[:] = content
    else:
        place.clear()
        place.update(cast("dict[str, Any]", content))


def _copy_buffers(model: nn.Module) -> None:
    """Let the forward write into copies: restoring values in place would look like a change to a waiting graph."""
    copies: dict[int, Tensor] = {}
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False, remove_duplicate=False)):
            copies.setdefault(id(buffer), buffer.detach().clone())
            setattr(module, name, copies[id(buffer)])
