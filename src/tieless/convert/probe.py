"""One run of a model that shows every activation that PyTorch computes, also those that the search has missed."""

from __future__ import annotations

import inspect
import sys
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from tieless.convert import steps
from tieless.convert.converted import original_class
from tieless.convert.find import Found
from tieless.convert.functions import STEP, function_of, left_of, operator_name
from tieless.convert.records import Unreached
from tieless.convert.steps import Place, Steps
from tieless.errors import ConversionError
from tieless.functional import untie_pair


def probe(
    model: nn.Module,
    found: Sequence[Found],
    unreached: Sequence[Unreached],
    given: Sequence[Any],
    named: Mapping[str, Any],
) -> list[Unreached]:
    """Activations that cannot be reached, with those that run in a call of the model and that the search has missed.

    The model runs forward once, with gradients, in its current mode. Buffers and PyTorch's random state are restored.
    Step functions that run are reported if they cut off a gradient. Those that reading the code has reported are
    included too, unless the run shows that they cut off none.

    Args:
        model: Model, converted or not.
        found: Activations that the search has found.
        unreached: Activations that the search has seen and cannot reach.
        given, named: Arguments for the call of the model.
    Raises:
        ConversionError: the model does not run with them.
    """
    watch = _Watch(model, found, unreached)
    with ExitStack() as stack, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a run that only observes
        stack.enter_context(torch.random.fork_rng())  # pyright: ignore[reportUnknownArgumentType]
        stack.enter_context(torch.inference_mode(mode=False))
        # A model that was made in inference mode never learns.
        stack.enter_context(torch.set_grad_enabled(not any(one.is_inference() for one in model.parameters())))
        copies, named_copies = _fresh(model, tuple(given), dict(named))
        stack.enter_context(_copied_buffers(model))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and the import takes a second
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(watch)
        stack.enter_context(_Below())
        try:
            outputs = model(*copies, **named_copies)
        except Exception as error:
            raise ConversionError(
                f"{original_class(model).__name__} does not run on the example: {type(error).__name__}: "
                f"{' '.join(str(error).split())[:200]}"
            ) from error
    cuts = watch.steps.cuts(outputs)
    harmless = watch.steps.places - cuts.keys()
    kept = [one for one in unreached if one.why != STEP or (one.name, one.where) not in harmless]
    told = {(one.name, one.where) for one in unreached}
    kinds = {(one.name, one.what) for one in unreached}
    stepping = [
        Unreached(name, kind, STEP, where)
        for (name, where), kind in cuts.items()
        if (name, where) not in told and (name, kind) not in kinds
    ]
    return [*kept, *watch.unreached, *stepping]


def _fresh(model: nn.Module, given: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Copies of the arguments of a model; the first requires a gradient if nothing in the model does."""
    learns = any(parameter.requires_grad for parameter in model.parameters())

    def copied(one: Any) -> Any:
        nonlocal learns
        if not isinstance(one, Tensor):
            return one
        new = one.detach().clone()
        if learns or not new.is_floating_point():
            return new
        learns = True
        return new.requires_grad_().clone()  # not a leaf, which an activation in place must not write to

    return tree_map(copied, (given, named))


_WATCHING = frozenset({__file__, steps.__file__})


class _Below(TorchDispatchMode):
    """Mode that calls each operator again, so that the mode above also sees operators that TorchScript has called."""

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


class _Watch(TorchFunctionMode):
    def __init__(self, model: nn.Module, found: Sequence[Found], unreached: Sequence[Unreached]) -> None:
        super().__init__()
        self._names: dict[int, str] = {}
        for name, module in cast("Iterator[tuple[str, nn.Module]]", model.named_modules()):
            self._names.setdefault(id(module), name)
        # A converted module computes anything beside its rule for code that has kept its old forward.
        self._whole = {id(one.module) for one in found if one.place == "module" and one.now is None}
        self._lines = {(id(one.module), one.kind, one.where) for one in found if one.place == "call"}
        self._kinds = {(id(one.module), one.kind) for one in found if one.place == "attribute" or not one.called}
        self._told = {(one.name, one.where) for one in unreached}
        self.unreached: list[Unreached] = []
        self.steps = Steps()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        kind, named = _kind(func), kwargs or {}
        if kind is not None and isinstance(next(iter((*args, *named.values())), None), Tensor):
            self._see(kind)
        return self.steps.run(self._place, func, args, named)

    def _see(self, kind: str) -> None:
        place, places = self._locate(kind)
        if place is None or any((place[0], line) in self._told for line in places):
            return
        seen = Unreached(place[0], kind, "the search has not found this call, which ran", place[1])
        if seen not in self.unreached:
            self.unreached.append(seen)

    def _place(self, kind: str) -> Place | None:
        return self._locate(kind)[0]

    def _locate(self, kind: str) -> tuple[Place | None, list[str]]:
        """Module and line that call a function, and all lines on the way; no place if the call is already known."""
        places: list[str] = []
        frame = inspect.currentframe()
        module: nn.Module | None = None
        while frame is not None:
            code = frame.f_code
            if code is untie_pair.__code__:
                return None, places  # a rule is at work: whatever its forward calls is untied
            if code.co_filename not in _WATCHING:
                places.append(f"{code.co_filename}:{frame.f_lineno}")
            this = _this(frame)
            if this is not None and id(this) in self._names:
                module = module or this
                if self._is_known(this, kind, places):
                    return None, places
                if code is nn.Module._call_impl.__code__:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                    break
            frame = frame.f_back
        where = next((place for place in places if "/torch/" not in place), places[0] if places else "?")
        return ("" if module is None else self._names[id(module)], where), places

    def _is_known(self, module: nn.Module, kind: str, places: Sequence[str]) -> bool:
        return (
            id(module) in self._whole
            or (id(module), kind) in self._kinds
            or any((id(module), kind, place) in self._lines for place in places)
            or isinstance(module, (nn.RNNBase, nn.RNNCellBase, torch.jit.ScriptModule))
        )


def _kind(function: object) -> str | None:
    """Name of the activation that runs, if the function is one."""
    known = function_of(function)
    if known is not None:
        return known.kind
    name = left_of(function) or operator_name(function) or getattr(function, "__name__", "")
    return name if name in {"prelu", "rrelu", "elu", "elu_", "erf", "erf_"} else None


def _this(frame: FrameType) -> nn.Module | None:
    """Module whose method runs in a frame."""
    code = frame.f_code
    this = frame.f_locals.get(code.co_varnames[0]) if code.co_argcount else None
    return this if isinstance(this, nn.Module) else None


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
