"""Memory that operations store for the backward pass, storage by storage, with its owners."""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from tieless.functional import untie_pair

Owner = int | str | None
"""Owner of a stored tensor: an activation by its number, ``"untie"`` in a direct call, or any other operation."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Storages that a graph keeps, without parameters and buffers.

    Args:
        owners: Owners of each storage, by the storage's ``id``.
        sizes: Bytes of each storage, by its ``id``.
        uncounted: Number of saved tensors without a storage that could be counted, such as sparse ones.
    """

    owners: dict[int, frozenset[Owner]]
    sizes: dict[int, int]
    uncounted: int

    @property
    def total(self) -> int:
        """Bytes of all storages, each counted once."""
        return sum(self.sizes.values())

    def by(self, owner: Owner) -> int:
        """Bytes of the storages that an owner keeps, alone or with others."""
        return sum(self.sizes[storage] for storage, owners in self.owners.items() if owner in owners)

    def only_by(self, owner: Owner) -> int:
        """Bytes of the storages that nobody else keeps: they would be freed if only this owner kept nothing."""
        return sum(self.sizes[storage] for storage, owners in self.owners.items() if owners == frozenset([owner]))

    def among(self, storages: Iterable[torch.UntypedStorage]) -> int:
        """Bytes of the kept storages that are among ``storages``."""
        return sum(self.sizes.get(key, 0) for key in {id(storage) for storage in storages})


class _Saved:
    """One saved tensor. The graph holds it, so it exists for as long as the graph keeps the tensor."""

    __slots__ = ("__weakref__", "owner", "tensor")

    def __init__(self, tensor: Tensor, owner: Owner) -> None:
        # An output that its own node saves would hold the node, and the node it.
        self.tensor = tensor.detach()
        self.owner = owner


class Watch:
    """Recorder of every tensor that is saved for a backward pass while it is entered.

    Example:
        >>> from tieless.diagnose.explaining.memory import Watch
        >>> watch, z = Watch(), torch.zeros(100, requires_grad=True)
        >>> with watch.watching():
        ...     y = z.exp()
        >>> watch.kept(()).total
        400
    """

    def __init__(self) -> None:
        self._saved: weakref.WeakSet[_Saved] = weakref.WeakSet()
        self._owners: list[Owner] = []
        self.calls_untie = False

    @contextmanager
    def watching(self) -> Generator[None]:
        """Context in which saved tensors are recorded."""
        with saved_tensors_hooks(self._pack, _unpack):
            yield

    @contextmanager
    def owned(self, owner: Owner) -> Generator[None]:
        """Context in which saved tensors belong to the given owner."""
        self._owners.append(owner)
        try:
            yield
        finally:
            self._owners.pop()

    def kept(self, without: Iterable[torch.UntypedStorage]) -> Kept:
        """Storages that existing graphs keep now, without those in ``without``."""
        ignored = {id(storage) for storage in without}
        owners: dict[int, frozenset[Owner]] = {}
        sizes: dict[int, int] = {}
        uncounted = 0
        for saved in list(self._saved):
            storage = _storage(saved.tensor)
            if storage is None:
                uncounted += 1
            elif id(storage) not in ignored and storage.nbytes():
                owners[id(storage)] = owners.get(id(storage), frozenset()) | {saved.owner}
                sizes[id(storage)] = storage.nbytes()
        return Kept(owners, sizes, uncounted)

    def _pack(self, tensor: Tensor) -> _Saved:
        owner = self._owners[-1] if self._owners else self._outside()
        saved = _Saved(tensor, owner)
        self._saved.add(saved)
        return saved

    def _outside(self) -> Owner:
        """Owner of a tensor saved outside all activations.

        Even a call that stores nothing saves an empty tensor, so none stays unseen.
        """
        frame = inspect.currentframe()
        while frame is not None:
            if frame.f_code is untie_pair.__code__:
                self.calls_untie = True
                return "untie"
            frame = frame.f_back
        return None


def unseen() -> saved_tensors_hooks:
    """Context in which no saved tensor is recorded, neither by a ``Watch`` nor by a checkpoint around it."""
    return saved_tensors_hooks(torch.Tensor.detach, torch.Tensor.detach)


def _unpack(saved: _Saved) -> Tensor:
    return saved.tensor


def _storage(tensor: Tensor) -> torch.UntypedStorage | None:
    try:
        return tensor.untyped_storage()
    except (NotImplementedError, RuntimeError):  # sparse and opaque tensors have none
        return None


def storages_in(value: object) -> list[torch.UntypedStorage]:
    """Storages of the tensors in a value: of a tensor itself, or of those in lists, tuples and dicts."""
    if isinstance(value, Tensor):
        storage = _storage(value)
        return [] if storage is None else [storage]
    if isinstance(value, dict):
        return storages_in(list(cast("dict[object, object]", value).values()))
    if isinstance(value, (list, tuple)):
        return [storage for element in cast("Iterable[object]", value) for storage in storages_in(element)]
    return []
