"""Data of the user's own: arrays and images in files, and data sets that code of the user's own makes.

What is read is numbers and pictures. Nothing in a file is run: pickled objects are refused.
"""

# pyright: reportPossiblyUnboundVariable=false
# try_import leaves a missing package unbound; check() has raised before any use of it.

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from tieless import own
from tieless._imports import try_import
from tieless.data.dataset import Dataset
from tieless.data.places import cache_folder
from tieless.data.source import SOURCES, Source, split, stream
from tieless.errors import DataError, TielessError
from tieless.grammar import parse_call, shown
from tieless.registry import forget_when_registered, make, remembered, snake_case
from tieless.signature import Maker, class_of, maker_of

with try_import("images") as _images_extra:
    from PIL import Image

_Arrays = Mapping[str, Any]
_PARTS = ("train_x", "train_y", "test_x", "test_y")
_PICTURES = {".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".webp"}
_FORMATS = ("BMP", "JPEG", "PNG", "PPM", "WEBP")
_SUPPLIED = ("seed", "train")
_MOST_CLASSES = 1_000_000

DataT = TypeVar("DataT", bound=Callable[..., Any])


class OwnSource(Source):
    """Data set of the user's own, whose content is known by a hash."""

    __slots__ = ()

    def arrays(self, seed: int) -> _Arrays:
        """Arrays ``train_x`` and ``train_y``, and ``test_x`` and ``test_y`` unless they are to be split off."""
        raise NotImplementedError

    def read(self, seed: int) -> Dataset:
        return _dataset(str(self), self.arrays(seed), seed)

    def sha256(self) -> str:
        """SHA-256 of its content, in hexadecimal digits.

        Raises:
            DataError: the content cannot be read.
        """
        raise NotImplementedError

    @property
    def label(self) -> str:
        """Name and the beginning of the hash, as a trial stores it; a question mark if there is nothing to read."""
        try:
            return f"{Path(str(self)).name} {self.sha256()[:16]}"
        except DataError:
            return f"{Path(str(self)).name} ?"


@dataclass(frozen=True, slots=True)
class Files(OwnSource):
    """File or folder that the user names by its path.

    Either of: a file ``.npz`` with the arrays ``train_x``, ``train_y`` and, if the test samples are not to be split off,
    ``test_x``, ``test_y``; a folder with files ``train_x.npy`` and so on; a file ``x.npy``, beside which is ``y.npy``; a
    folder of images, one folder in it for each class, or such folders in ``train`` and ``test``; a folder that Hugging
    Face's ``save_to_disk`` wrote.

    Inputs are float32, from any floating dtype, or from bytes divided by 255; other integers are codes. Labels are
    integers from 0; floating ones are numbers to predict. Without test samples ``seed`` draws 80 % to train on.
    """

    path: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", _written(self.path))

    def __str__(self) -> str:
        return self.path

    def arrays(self, seed: int) -> _Arrays:
        return self._content()[0]

    def sha256(self) -> str:
        return self._content()[1]

    def files(self) -> dict[str, bytes]:
        """Contents of its files by their names: those below a folder have its name before theirs.

        Raises:
            DataError: a file cannot be read.
        """
        place = Path(self.path)
        contents: dict[str, bytes] = {}
        for file in map(Path, (name for name, _, _ in _stamp(place))):
            with _explained(file):
                contents[file.relative_to(place.parent).as_posix()] = file.read_bytes()
        return contents

    def _content(self) -> tuple[_Arrays, str]:
        place = _elsewhere.get(self.path, self.path)
        return _content(place, _stamp(Path(place)))


_elsewhere: dict[str, str] = {}
"""Paths that are read in the place of others, by those: the files that were sent to this machine."""


def keep(spec: str, files: Mapping[str, bytes], sources: str) -> None:
    """Keep the files of a path that is not on this machine in the user's cache, by their SHA-256.

    Args:
        spec: Path.
        files: Contents, as ``Files.files`` gives them.
        sources: Sources of a trial, of which the files must be one.
    Raises:
        DataError: they are not those of the trial.
    """
    folder = cache_folder() / "own"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as made:
        for name, content in files.items():
            file = Path(made, "files", name)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        found = Files(str(Path(made, "files", Path(spec).name)))
        if found.label != _label_in(sources, spec):
            raise DataError(f"{spec} has changed since the study was read: run the study again.")
        with suppress(OSError):  # another process has put the same there
            Path(made, "files").rename(folder / found.label.rpartition(" ")[2])


def place_of(spec: str, sources: str) -> str | None:
    """Path that has the files of a trial: its own, or that of files which were sent; ``None`` if there is none."""
    label = _label_in(sources, spec)
    if label is None or Files(spec).label == label:
        return spec
    sent = cache_folder() / "own" / label.rpartition(" ")[2] / Path(spec).name
    return str(sent) if sent.exists() else None


def read_from(spec: str, place: str) -> None:
    """Read the files of a path from another place, in this process."""
    _elsewhere[_written(spec)] = place


def _label_in(sources: str, spec: str) -> str | None:
    """Label of a path among the sources of a trial."""
    found = re.search(rf"(?:^|, )({re.escape(Path(spec).name)} [0-9a-f]{{16}})(?:,|$)", sources)
    return None if found is None else found[1]


class WrittenData(OwnSource):
    """Data set that a class or a function of the user's own makes."""

    __slots__ = ()
    maker: ClassVar[Maker]
    origin: ClassVar[str] = "code of your own"

    def arrays(self, seed: int) -> _Arrays:
        return _made(self, seed if "seed" in self.maker.takes else 0)

    def sha256(self) -> str:
        digest = hashlib.sha256()
        for name, value in self.arrays(0).items():
            values = np.asarray(value)
            digest.update(f"{name} {values.dtype.str} {values.shape} ".encode())
            digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()


def is_path(spec: str) -> bool:
    """True if the spec of a data set is a path: it has a slash, or ends as the name of a file of arrays does."""
    return own.split(spec) is None and ("/" in spec or os.sep in spec or spec.strip().endswith((".npz", ".npy")))


def source_of(spec: str) -> Source:
    """Data set of a spec: by name, by the path of a file or a folder, or by an object of the user's own.

    Raises:
        SpecError: the spec cannot be read, or names what does not exist.
        RuleTypeError, RuleValueError: a parameter has the wrong type or is out of range.
    """
    mine = own.split(spec)
    if mine is not None:
        return _written_data(*mine)
    if is_path(spec):
        return Files(spec)
    return SOURCES.read(spec)


def register_data(definition: DataT) -> DataT:
    """Register a class or a function of your own as a data set, by its name in snake case, for use in specs.

    It is called with those of ``seed`` and ``train`` that it takes, and with the parameters of its spec; with ``train``
    it is called twice, for the training and the test samples. It returns a ``torch.utils.data.Dataset`` of pairs
    ``(input, label)``, two of them to train and to test, arrays or tensors ``x, y`` or ``train_x, train_y, test_x,
    test_y``, or a ``tieless.data.Dataset``. Without test samples 80 % are drawn to train on.

    Args:
        definition: Class or function, as for ``register_model``.
    Returns:
        Same class or function.
    Raises:
        SpecError: the name is taken, or a parameter without a default cannot be written in a spec.
        RuleTypeError: the definition is no class or function.
    Example:
        >>> from tieless.data import load
        >>> @register_data
        ... def stripes(seed, n: int = 20):
        ...     x = torch.rand(n, 4, generator=torch.Generator().manual_seed(seed))
        ...     return x, (x[:, 0] > x[:, 1]).long()
        >>> data = load("stripes(n=40)", seed=0)
        >>> data.train_x.shape, data.classes
        (torch.Size([32, 4]), 2)
    """
    SOURCES.register(_class(definition, snake_case(definition)))
    return definition


def _class(definition: Callable[..., Any], name: str) -> type[WrittenData]:
    maker = maker_of(definition, _SUPPLIED)
    return class_of(maker, WrittenData, {"maker": maker, "name": name})


@remembered
def _written_data(code: str, text: str) -> Source:
    call = parse_call(text)
    found: Any = own.find(code, call.name)
    return make(_class(found, f"{code}:{call.name}"), call)


def _written(path: str) -> str:
    path = Path(os.path.normpath(path.strip())).as_posix()
    # A bare name would be read as that of a data set.
    return path if "/" in path or path.startswith("..") else f"./{path}"


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Names, times and sizes of the files: equal if they were not written to."""
    try:
        files = _files(path)
        return tuple((str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in files)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror}.") from None


def _files(path: Path) -> list[Path]:
    if path.name == "x.npy" or path.name.endswith("_x.npy"):
        partner = path.with_name(f"{path.name.removesuffix('x.npy')}y.npy")
        return [path, partner]
    if not path.exists():
        where = "" if path.is_absolute() else f" in {Path.cwd()}"
        raise DataError(f"There is no {path}{where}: data are a file .npz or .npy, or a folder.")
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
    return [path]


@lru_cache(maxsize=2)
def _content(path: str, stamp: tuple[tuple[str, int, int], ...]) -> tuple[_Arrays, str]:
    """Arrays of files, and the SHA-256 of their names and contents."""
    root = Path(path)
    files = [Path(name) for name, _, _ in stamp]
    digest = hashlib.sha256()
    for file in files:
        name = file.relative_to(root).as_posix() if root.is_dir() else file.name
        digest.update(f"{name}\0{_digest(file)}\0".encode())
    return _read(root, files), digest.hexdigest()


def _digest(file: Path) -> str:
    found = hashlib.sha256()
    with _explained(file), file.open("rb") as opened:
        while block := opened.read(1 << 20):
            found.update(block)
    return found.hexdigest()


@contextmanager
def _explained(file: Path) -> Generator[None]:
    """Context in which whatever goes wrong with a file is one line about it."""
    try:
        yield
    except (TielessError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  a damaged file can fail in many ways, and all are told
        if isinstance(error, ValueError) and "allow_pickle" in str(error):
            raise DataError(f"{file} holds pickled objects, which are not read: save arrays of numbers.") from None
        lines = (getattr(error, "strerror", None) or str(error)).splitlines() or [type(error).__name__]
        raise DataError(f"{file} cannot be read: {lines[0].rstrip('.')}.") from None


def _read(root: Path, files: list[Path]) -> _Arrays:
    if root.suffix == ".npz":
        return _npz(root)
    if root.suffix == ".npy":
        if len(files) != 2:
            raise DataError(
                f"{root} has no partner: name the file x.npy, or end its name in _x.npy, beside that of the labels."
            )
        return dict(zip(_PARTS[:2], map(_npy, files), strict=True))
    if not root.is_dir():
        raise DataError(f"{root} is no data: expected a file .npz or .npy, or a folder.")
    names = {file.relative_to(root).as_posix(): file for file in files}
    if {"dataset_dict.json", "state.json"} & set(names):
        return _hugging_face(root)
    if any(f"{part}.npy" in names for part in _PARTS):
        _check_names(root, [name.removesuffix(".npy") for name in names if name.endswith(".npy")])
        return {part: _npy(names[f"{part}.npy"]) for part in _PARTS if f"{part}.npy" in names}
    return _images(root)


def _npy(file: Path) -> Any:
    # Opened here: numpy leaves a damaged file open.
    with _explained(file), file.open("rb") as opened:
        found: Any = np.load(opened, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise DataError(f"{file} is no file .npy, but an archive: name it .npz.")
        return cast("Any", found)


def _npz(file: Path) -> _Arrays:
    with _explained(file), file.open("rb") as opened:
        archive: Any = np.load(opened, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise DataError(f"{file} is no archive, but one array: write it with numpy.savez.")
        _check_names(file, archive.files)
        return {name: archive[name] for name in _PARTS if name in archive.files}


def _check_names(place: Path, names: Iterable[str]) -> None:
    there = sorted(names)
    wanted = set(there) & set(_PARTS)
    if wanted in ({"train_x", "train_y"}, set(_PARTS)) and len(there) == len(wanted):
        return
    raise DataError(
        f"{place} has the arrays {', '.join(map(repr, there)) or 'none'}: expected train_x and train_y, and test_x and"
        " test_y unless the test samples are to be split off."
    )


def _images(root: Path) -> _Arrays:
    _images_extra.check()
    folders = _folders(root)
    if "train" not in folders:
        x, y = _pictures(root, sorted(folders))
        return {"train_x": x, "train_y": y}
    if set(folders) - {"train", "test"}:
        raise DataError(f"{root} has folders beside train and test: {', '.join(sorted(folders))}.")
    classes = sorted(_folders(root / "train"))
    parts: dict[str, Any] = dict(zip(_PARTS[:2], _pictures(root / "train", classes), strict=True))
    if "test" in folders:
        if unknown := sorted(set(_folders(root / "test")) - set(classes)):
            raise DataError(f"{root / 'test'} has the class {unknown[0]}, which {root / 'train'} has not.")
        parts.update(zip(_PARTS[2:], _pictures(root / "test", classes), strict=True))
    return parts


def _folders(root: Path) -> list[str]:
    return [one.name for one in root.iterdir() if one.is_dir() and not one.name.startswith(".")]


def _pictures(root: Path, classes: list[str]) -> tuple[Any, Any]:
    """Images of all classes, ``(n, channels, height, width)`` in bytes, and the index of the class of each."""
    found: list[tuple[int, Path, Any]] = []
    for label, name in enumerate(classes):
        for file in sorted((root / name).rglob("*")):
            if file.suffix.lower() in _PICTURES and not file.name.startswith("."):
                with _explained(file), Image.open(file, formats=_FORMATS) as opened:  # pyright: ignore[reportUnknownVariableType]
                    opened.load()
                    found.append((label, file, cast("Any", opened).copy()))
    if not found:
        raise DataError(
            f"{root} has no images: expected a folder for each class with files {', '.join(sorted(_PICTURES))}."
        )
    mode = "L" if all(image.mode in {"1", "L"} for _, _, image in found) else "RGB"
    size = found[0][2].size
    for _, file, image in found:
        if image.size != size:
            raise DataError(f"{file} has {image.size} pixels, and {found[0][1]} {size}: bring all to one size.")
    pixels = np.stack([np.asarray(image.convert(mode)) for _, _, image in found])
    return np.moveaxis(pixels.reshape(*pixels.shape[:3], -1), -1, 1), np.array([label for label, _, _ in found])


def _hugging_face(root: Path) -> _Arrays:
    with try_import("huggingface") as extra:
        # Not at the top: it takes seconds to import.
        import datasets  # noqa: PLC0415  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
    extra.check()
    with _explained(root):
        found: Any = datasets.load_from_disk(str(root))  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]
        parts: dict[str, Any] = dict(cast("Any", found)) if isinstance(found, dict) else {"train": found}
        if "train" not in parts:
            raise DataError(
                f"{root} has the parts {', '.join(map(str, parts))}: expected train, and test if there is one."
            )
        given = {name: _columns(root, parts[name]) for name in ("train", "test") if name in parts}
    return {f"{part}_{axis}": values for part, pair in given.items() for axis, values in zip("xy", pair, strict=True)}


def _columns(root: Path, part: Any) -> tuple[Any, Any]:
    names = list(part.column_names)
    labels = [name for name in names if name in {"label", "labels", "target", "y"}]
    if len(names) != 2 or len(labels) != 1:
        raise DataError(f"{root} has the columns {', '.join(names)}: expected an input and a label, named label or y.")
    (label,), (inputs,) = labels, [name for name in names if name not in labels]
    return _stacked(root, ((row[inputs], row[label]) for row in part))


def _stacked(owner: object, pairs: Iterable[Any]) -> tuple[Any, Any]:
    """Inputs and labels of pairs, as two arrays."""
    xs: list[Any] = []
    ys: list[Any] = []
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(cast("Sized", pair)) != 2:
            raise DataError(f"{owner}: expected samples (input, label), got {shown(cast('object', pair))}.")
        x, y = (_array(owner, one) for one in cast("tuple[Any, Any]", pair))
        if xs and (x.shape != xs[0].shape or y.shape != ys[0].shape):
            raise DataError(f"{owner}: sample {len(xs)} has the shape {x.shape}, and the first {xs[0].shape}.")
        xs.append(x)
        ys.append(y)
    if not xs:
        raise DataError(f"{owner} has no samples.")
    return np.stack(xs), np.stack(ys)


def _array(owner: object, value: object) -> Any:
    try:
        return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"{owner}: {shown(value)} is no array of numbers ({str(error).splitlines()[0]}).") from None


@lru_cache(maxsize=2)
def _made(source: WrittenData, seed: int) -> _Arrays:
    """Arrays that code of the user's own makes."""
    try:
        if "train" in source.maker.takes:
            made = [source.maker({"seed": seed, "train": train}, source) for train in (True, False)]
            return _arrays(source, made)
        return _arrays(source, source.maker({"seed": seed}, source))
    except (TielessError, MemoryError):
        raise
    except Exception as error:
        lines = str(error).splitlines() or [""]
        raise DataError(f"{source} cannot be made: {type(error).__name__}: {lines[0].rstrip('.')}.") from error


forget_when_registered(_made.cache_clear)


def _arrays(source: object, made: Any) -> _Arrays:
    if isinstance(made, Dataset):
        return {part: getattr(made, part).cpu().numpy() for part in _PARTS}
    parts: list[Any] = list(cast("Any", made)) if isinstance(made, (tuple, list)) else [made]
    if len(parts) == 4 or (len(parts) == 2 and all(isinstance(part, (Tensor, np.ndarray)) for part in parts)):
        return {name: _array(source, part) for name, part in zip(_PARTS, parts, strict=False)}
    if len(parts) > 2:
        raise DataError(f"{source}: expected a data set, or two to train and to test, got {len(parts)} things.")
    pairs = [_stacked(source, _samples(source, part)) for part in parts]
    return dict(zip(_PARTS, [array for pair in pairs for array in pair], strict=False))


def _samples(source: object, part: Any) -> Iterator[Any]:
    if hasattr(part, "__getitem__") and hasattr(part, "__len__"):
        return (part[i] for i in range(len(part)))
    if hasattr(part, "__iter__"):
        return iter(part)
    raise DataError(f"{source}: expected a torch.utils.data.Dataset or arrays, got {shown(part)}.")


def _dataset(name: str, arrays: _Arrays, seed: int) -> Dataset:
    """Data set of arrays, checked."""
    given = {part: _inputs(name, part, arrays[part]) for part in ("train_x", "test_x") if part in arrays}
    given |= {part: _labels(name, part, arrays[part]) for part in ("train_y", "test_y") if part in arrays}
    for part in ("train", "test"):
        if f"{part}_x" in given and len(given[f"{part}_x"]) != len(given[f"{part}_y"]):
            sizes = f"{len(given[f'{part}_x'])} and {len(given[f'{part}_y'])}"
            raise DataError(f"{name}: {part}_x and {part}_y have {sizes} samples, and each needs its label.")
    for axis in "xy":
        train, test = given[f"train_{axis}"], given.get(f"test_{axis}")
        if test is not None and (train.shape[1:] != test.shape[1:] or train.dtype != test.dtype):
            one, other = (f"{tuple(t.shape[1:])} {str(t.dtype).removeprefix('torch.')}" for t in (train, test))
            raise DataError(f"{name}: samples of train_{axis} are {one}, those of test_{axis} {other}.")
    x, y = given["train_x"], given["train_y"]
    if "test_x" not in given and len(y) < 2:
        raise DataError(f"{name} has one sample, which cannot be split into some to train on and some to test.")
    classes = _classes(name, [given[part] for part in ("train_y", "test_y") if part in given])
    if "test_x" in given:
        return Dataset(name, x, y, given["test_x"], given["test_y"], classes)
    order = torch.randperm(len(y), generator=stream("split", seed))
    return replace(split(name, x[order], y[order], classes))


def _classes(name: str, labels: Sequence[Tensor]) -> int:
    """Number of classes, or of the numbers to predict for a sample."""
    if labels[0].is_floating_point():
        return 1 if labels[0].dim() == 1 else labels[0].shape[1]
    classes = max(int(one.max()) for one in labels) + 1
    if classes == 1:
        raise DataError(f"{name}: all labels are 0: there is nothing to tell apart.")
    if classes > _MOST_CLASSES:
        raise DataError(f"{name}: a label is {classes - 1}. Labels count from 0 to the number of classes less 1.")
    there = [int(label) for label in torch.cat(list(labels)).flatten().bincount().nonzero()]
    # Rows of labels are codes, such as those of characters, of which a text has not all.
    if labels[0].dim() == 1 and (there[0] > 0 or 2 * len(there) < classes):
        raise DataError(
            f"{name}: labels go from {there[0]} to {classes - 1} and take {len(there)} of the {classes:,} values from"
            f" 0 to {classes - 1}, which would make {classes:,} classes. Number those that are there 0, 1, 2, ..., as"
            " numpy.unique(labels, return_inverse=True)[1] does."
        )
    return classes


def _inputs(name: str, part: str, values: Any) -> Tensor:
    kind = values.dtype.kind
    if kind == "f" or values.dtype == np.uint8 or kind == "b":
        with np.errstate(over="ignore"):  # what is too large is found below
            found = torch.from_numpy(np.array(values, dtype=np.float32))  # pyright: ignore[reportUnknownMemberType]
        found = found / 255 if values.dtype == np.uint8 else found
    elif kind in "iu":
        found = torch.from_numpy(values.astype(np.int64))  # pyright: ignore[reportUnknownMemberType]
    else:
        raise DataError(f"{name}: {part} has the dtype {values.dtype}: expected numbers.")
    _check_values(name, part, found)
    return found.unsqueeze(1) if found.dim() == 1 else found


def _labels(name: str, part: str, values: Any) -> Tensor:
    kind = values.dtype.kind
    if kind not in "fiub":
        raise DataError(
            f"{name}: {part} has the dtype {values.dtype}: expected integers from 0, or numbers to predict."
        )
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    with np.errstate(over="ignore"):
        plain = np.array(values, dtype=np.float32 if kind == "f" else np.int64)
    found = torch.from_numpy(plain)  # pyright: ignore[reportUnknownMemberType]
    _check_values(name, part, found)
    if kind != "f" and int(found.min()) < 0:
        raise DataError(f"{name}: {part} has the label {int(found.min())}. Labels count from 0.")
    if found.dim() > 2:
        raise DataError(f"{name}: {part} has the shape {tuple(found.shape)}: expected one label, or one row, a sample.")
    return found


def _check_values(name: str, part: str, found: Tensor) -> None:
    if found.dim() == 0 or found.numel() == 0:
        raise DataError(f"{name}: {part} has the shape {tuple(found.shape)}: expected samples along its first axis.")
    if found.is_floating_point() and not bool(found.isfinite().all()):
        count = int((~found.isfinite()).sum())
        raise DataError(f"{name}: {part} has {count} values that are NaN or infinite in float32. Take them out first.")
