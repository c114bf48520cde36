"""Rule under which a checkpoint repeats a forward pass.

A checkpoint runs its forward pass again, in the backward pass: where the ``use`` of the first time may have ended, in
another thread perhaps. So an activation remembers the rule under which it was called.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from tieless import ops
from tieless.compat.freegrad.context import Chosen, active
from tieless.compat.freegrad.registry import RuleError

# PyTorch tells these only through its private module; torch.utils.checkpoint and the compiler ask for them too.
_inner: Any = torch._C  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
_backward_pass: Callable[[], int] = _inner._current_graph_task_id  # noqa: SLF001
_saving_hooks: Callable[[bool], object] = getattr(
    _inner._autograd,  # noqa: SLF001
    "_top_saved_tensors_default_hooks",
    lambda _: True,  # where it does not tell, any call may be one that a checkpoint repeats
)

_KEPT = 8
"""Number of different rules to remember: with more than one, the rule is ambiguous already."""


class Recall:
    """Rules under which one activation was called since the last repetition, each once, by training mode."""

    def __init__(self) -> None:
        self._seen: dict[bool, list[Chosen | None]] = {True: [], False: []}
        self._repeated = False

    def chosen(self, *, training: bool) -> Chosen | None:
        """Rule for a call that happens now.

        Raises:
            RuleError: a checkpoint repeats one of several calls under different rules, and none of them is active.
        """
        now = active()
        seen = self._seen[training]
        if _backward_pass() == -1:
            if self._repeated:  # a new update: the rules of the last one are forgotten
                self._repeated = False
                seen.clear()
            # A checkpoint of the one kind runs without a graph, of the other with hooks on what is saved.
            without_graph = not torch.is_grad_enabled() and not ops.forward_mode()
            if now not in seen and (without_graph or _saving_hooks(True)):
                seen.append(now)
                del seen[:-_KEPT]
            return now
        self._repeated = True
        if len(seen) == 1:
            return seen[0]
        if not seen or (now is not None and now in seen):
            return now
        raise RuleError(
            "A checkpoint repeats a forward pass, and this activation was called under several rules before. "
            "Run the backward pass inside of use(...) too, or give the activation its own: "
            "Activation('ReLU', rule=..., params=...)."
        )
