"""Packed networks as files: one safetensors file, with a description of the operations in its metadata.

A file is data. It is checked before anything is made of it, and nothing in it is executed.
"""

from __future__ import annotations

import json
import os
import struct
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Any, cast, get_type_hints

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors, save as save_tensors

from tieless_runtime.errors import PackedFileError
from tieless_runtime.network import Network
from tieless_runtime.operations import OPERATIONS, Operation, expect
from tieless_runtime.weights import KINDS, Weight, from_stored, stored_shape

FORMAT = "tieless-packed"
VERSION = 1
KEY = "tieless"
MOST_HEADER = 2**24
MOST_OPERATIONS = 10_000
MOST_FILE = 2**32

Description = dict[str, Any]
Array = NDArray[Any]


def write(network: Network, path: str | os.PathLike[str]) -> None:
    """Write a packed network to a file.

    Args:
        network: Network.
        path: Path of the file, which is replaced if it exists.
    Raises:
        PackedFileError: no reader would take the file: it would have more of something than a file may have.
        OSError: the file cannot be written.
    """
    Path(path).write_bytes(packed_bytes(network))


def packed_bytes(network: Network) -> bytes:
    """Content of the file of a packed network, which has been read once.

    Raises:
        PackedFileError: no reader would take it.
    """
    tensors: dict[str, Array] = {}
    operations = [_described(operation, tensors) for operation in network.operations]
    description = {
        "format": FORMAT,
        "version": VERSION,
        "shape": list(network.shape),
        "output": network.output,
        "score_scale": network.score_scale,
        "kept_float": [list(pair) for pair in network.kept_float],
        "operations": operations,
    }
    content = save_tensors(tensors, {KEY: json.dumps(description, allow_nan=False, separators=(",", ":"))})
    _network(*_parsed(content))
    return content


def read(path: str | os.PathLike[str]) -> Network:
    """Read a packed network.

    Memory is bounded: at most 64 times the bytes of the file.

    Args:
        path: Path of a file that ``write`` made.
    Raises:
        PackedFileError: the file is no packed network of this version, is truncated, or contradicts itself.
        OSError: the file cannot be read.
    """
    try:
        return _network(*_parsed(_content(Path(path))))
    except PackedFileError as error:
        raise PackedFileError(
            f"{os.fspath(path)} is no packed network that can be run: {error}. It has to be packed, or copied, again."
        ) from None


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    expect(size <= MOST_FILE, f"it has {size} bytes")
    with path.open("rb") as file:
        return file.read(size)


def _parsed(content: bytes) -> tuple[Description, dict[str, Array]]:
    """Description and tensors of a file, not yet compared with each other."""
    size = len(content)
    expect(8 < size <= MOST_FILE, f"it has {size} bytes")
    (header,) = struct.unpack_from("<Q", content)
    expect(header <= min(size - 8, MOST_HEADER), f"its header would have {header} bytes, the file has {size}")
    metadata = _json(content[8 : 8 + header], "its header").get("__metadata__")
    expect(
        isinstance(metadata, dict) and isinstance(metadata.get(KEY), str), "it has no description of a packed network"
    )
    description = _json(cast("dict[str, str]", metadata)[KEY], "its description")
    expect(description.get("format") == FORMAT, f"its format is not {FORMAT!r}")
    expect(
        description.get("version") == VERSION,
        f"its version is {_short(description.get('version'))}, this runtime reads version {VERSION}",
    )
    try:
        return description, load_tensors(content)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
        raise PackedFileError(f"its tensors cannot be read ({_short(error)})") from None


def _json(text: str | bytes, what: str) -> Description:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise PackedFileError(f"{what} cannot be read") from None
    expect(isinstance(found, dict), f"{what} is not an object")
    return found


def _short(thing: object) -> str:
    text = " ".join(str(thing).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _network(description: Description, tensors: dict[str, Array]) -> Network:
    reader = _Reader(tensors)
    known = {"format", "version", "shape", "output", "score_scale", "kept_float", "operations"}
    expect(set(description) == known, f"its description has not the fields {', '.join(sorted(known))}")
    operations = _list(description["operations"], "operations", MOST_OPERATIONS)
    network = Network(
        _whole_numbers(description["shape"], "shape"),
        tuple(reader.operation(each) for each in operations),
        _text(description["output"], "output"),
        _number(description["score_scale"], "score_scale"),
        tuple(_pair(pair) for pair in _list(description["kept_float"], "kept_float", MOST_OPERATIONS)),
    )
    expect(not reader.unused, f"it has tensors that no operation takes: {_short(sorted(reader.unused))}")
    return network


def _text(found: object, what: str) -> str:
    expect(isinstance(found, str) and len(found) <= 1000, f"{what} must be a text")
    return cast("str", found)


def _number(found: object, what: str) -> float:
    expect(
        isinstance(found, (int, float)) and not isinstance(found, bool) and abs(found) < 2**53,
        f"{what} must be a number",
    )
    return float(cast("float", found))


def _whole(found: object, what: str) -> int:
    expect(
        isinstance(found, int) and not isinstance(found, bool) and abs(found) < 2**31,
        f"{what} must be an integer of 32 bits",
    )
    return cast("int", found)


def _list(found: object, what: str, most: int) -> list[Any]:
    expect(
        isinstance(found, list) and len(cast("list[Any]", found)) <= most, f"{what} must be a list of at most {most}"
    )
    return cast("list[Any]", found)


def _whole_numbers(found: object, what: str) -> tuple[int, ...]:
    return tuple(_whole(number, what) for number in _list(found, what, 8))


def _texts(found: object, what: str) -> tuple[str, ...]:
    return tuple(_text(text, what) for text in _list(found, what, 64))


def _pair(found: object) -> tuple[str, str]:
    texts = _texts(found, "kept_float")
    expect(len(texts) == 2, "kept_float must be pairs")
    return texts[0], texts[1]


_PLAIN = {str: _text, float: _number, int: _whole, tuple[int, ...]: _whole_numbers, tuple[str, ...]: _texts}


@cache
def _fields(cls: type[Operation]) -> dict[str, Any]:
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}


def _described(operation: Operation, tensors: dict[str, Array]) -> Description:
    """Description of an operation, whose arrays are added to the tensors."""
    found: Description = {"kind": operation.kind}
    for name in _fields(type(operation)):
        setting = getattr(operation, name)
        key = f"{operation.output}.{name}"
        if isinstance(setting, Weight):
            tensors[key] = np.ascontiguousarray(setting.stored())
            setting = {"kind": setting.kind, "shape": list(setting.shape), "bits": setting.bits, "tensor": key}
        elif isinstance(setting, np.ndarray):
            tensors[key] = np.ascontiguousarray(cast("Array", setting))
            setting = key
        found[name] = list(cast("tuple[Any, ...]", setting)) if isinstance(setting, tuple) else setting
    return found


class _Reader:
    """Maker of operations from their descriptions."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self._tensors = tensors
        self.unused = set(tensors)

    def operation(self, description: object) -> Operation:
        expect(isinstance(description, dict), "an operation must be an object")
        given = dict(cast("Description", description))
        kind = given.pop("kind", None)
        expect(
            isinstance(kind, str) and kind in OPERATIONS,
            f"there is no operation {_short(kind)}; there are {', '.join(OPERATIONS)}",
        )
        cls = OPERATIONS[cast("str", kind)]
        expected = _fields(cls)
        expect(set(given) == set(expected), f"operation {kind} has not the fields {', '.join(expected)}")
        settings = {name: self._setting(hint, given[name], f"{kind}.{name}") for name, hint in expected.items()}
        return cls(**settings)

    def _setting(self, hint: Any, found: object, what: str) -> Any:
        if hint in _PLAIN:
            return _PLAIN[hint](found, what)
        if hint is Weight:
            return self._weight(found, what)
        if found is None and hint != Array:
            return None
        return self._tensor(found, what)

    def _tensor(self, found: object, what: str) -> Array:
        name = _text(found, what)
        expect(name in self._tensors, f"{what} names a tensor that the file does not have")
        self.unused.discard(name)
        array = self._tensors[name]
        expect(array.ndim <= 4 and array.size > 0, f"{what} is empty or has too many dimensions")
        return array

    def _weight(self, found: object, what: str) -> Weight:
        expect(
            isinstance(found, dict) and set(cast("Description", found)) == {"kind", "shape", "bits", "tensor"},
            f"{what} has not the fields kind, shape, bits, tensor",
        )
        given = cast("Description", found)
        kind, bits = _text(given["kind"], what), _whole(given["bits"], what)
        shape = _whole_numbers(given["shape"], what)
        expect(kind in KINDS, f"{what} is of kind {_short(kind)}; there are {', '.join(KINDS)}")
        expect(2 <= bits <= 8 if kind == "integer" else bits == 0, f"{what} cannot have {bits} bits")
        expect(2 <= len(shape) <= 4 and min(shape) >= 1, f"{what} cannot have shape {shape}")
        stored = self._tensor(given["tensor"], what)
        dtype = np.float32 if kind == "float" else np.uint8
        wanted = stored_shape(kind, shape, bits)
        expect(
            stored.dtype == dtype and stored.shape == wanted,
            f"{what} must be {np.dtype(dtype)} of shape {wanted}, got {stored.dtype} of shape {stored.shape}",
        )
        return from_stored(kind, shape, bits, stored)
