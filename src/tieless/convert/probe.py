"""Run a model once and see every activation that PyTorch is asked for: whatever no search has found shows up here."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.overrides import TorchFunctionMode

from tieless.convert.find import Found
from tieless.convert.functions import function_of
from tieless.convert.records import Unreached
from tieless.functional import untie_joined

__all__ = ["probe"]


def probe(model: nn.Module, found: Sequence[Found], given: Sequence[Any], named: Mapping[str, Any]) -> list[Unreached]:
    """Activations that run when the model is called, and are not among those found.

    The model runs once without gradients, in the mode in which it is. Buffers and PyTorch's random state are
    afterwards as they were.

    Args:
        model: Converted or not.
        found: What the search has found.
        given, named: What to call it with.
    """
    names: dict[int, str] = {}
    for name, module in cast("Iterator[tuple[str, nn.Module]]", model.named_modules()):
        names.setdefault(id(module), name)
    owners: list[nn.Module] = []
    watch = _Watch(names, owners, found)

    def enter(module: nn.Module, _: Any) -> None:
        owners.append(module)

    def leave(module: nn.Module, *_: Any) -> None:
        if owners and owners[-1] is module:
            owners.pop()

    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a run that is for nothing but to look on
        stack.enter_context(torch.random.fork_rng())  # pyright: ignore[reportUnknownArgumentType]
        stack.enter_context(torch.no_grad())
        stack.enter_context(_copied_buffers(model))
        for handle in (register_module_forward_pre_hook(enter), register_module_forward_hook(leave, always_call=True)):
            stack.callback(handle.remove)
        with watch:
            model(*given, **named)
    return watch.unreached


class _Watch(TorchFunctionMode):
    def __init__(self, names: Mapping[int, str], owners: list[nn.Module], found: Sequence[Found]) -> None:
        super().__init__()
        self._names, self._owners = names, owners
        self._whole = {id(one.module) for one in found if one.place == "module"}
        self._lines = {(one.where, one.kind) for one in found if one.place == "call"}
        self._kinds = {
            (id(one.module), one.kind) for one in found if one.place == "attribute" or one.where.startswith("traced")
        }
        self.unreached: list[Unreached] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        function = function_of(func)
        if function is not None and args and isinstance(args[0], Tensor):
            self._see(function.kind)
        return func(*args, **(kwargs or {}))

    def _see(self, kind: str) -> None:
        owner = self._owners[-1] if self._owners else None
        if owner is not None and (id(owner) in self._whole or (id(owner), kind) in self._kinds):
            return
        places: list[str] = []
        here = inspect.currentframe()
        frame = here and here.f_back and here.f_back.f_back  # past the mode itself
        while frame is not None:
            code = frame.f_code
            if code is untie_joined.__code__:
                return  # a rule is at work: whatever its forward calls is untied
            if code is nn.Module.__call__.__code__ or code is nn.Module._call_impl.__code__:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportFunctionMemberAccess]
                break
            places.append(f"{code.co_filename}:{frame.f_lineno}")
            frame = frame.f_back
        if self._lines.isdisjoint((place, kind) for place in places):
            where = next((place for place in places if "/torch/" not in place), places[0] if places else "?")
            name = self._names.get(id(owner), "") if owner is not None else ""
            seen = Unreached(name, f"{kind}, {where}", "the search has not found this call, which ran")
            if seen not in self.unreached:
                self.unreached.append(seen)


@contextmanager
def _copied_buffers(model: nn.Module) -> Generator[None]:
    """Let a forward write to copies of buffers."""
    places = [
        (module, name, buffer)
        for module in model.modules()
        for name, buffer in module.named_buffers(recurse=False, remove_duplicate=False)
    ]
    copies = {id(buffer): buffer.detach().clone() for _, _, buffer in places}
    try:
        for module, name, buffer in places:
            setattr(module, name, copies[id(buffer)])
        yield
    finally:
        for module, name, buffer in places:
            setattr(module, name, buffer)
