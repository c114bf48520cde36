"""Conversions in YAML files: they are read as data, and errors are one line."""

# pyright: reportPossiblyUnboundVariable=false
# If PyYAML is missing, the check at the first use says so.

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

from tieless._imports import try_import
from tieless.convert.select import Entry, Halves, TypeName, halves
from tieless.errors import ConversionError

with try_import("study") as _yaml_extra:
    from tieless._yaml import Document, read_document

_KEYS = ("forward", "backward", "layers", "types")


def read_file(path: str | PathLike[str]) -> list[Entry[Halves]]:
    """Selectors in a file: ``layers`` by name or glob, ``types`` by class, ``forward`` and ``backward`` for all others.

    Raises:
        ConversionError: the file does not exist, is no YAML mapping, or has unknown keys or values.
    """
    _yaml_extra.check()
    name = fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError(f"Cannot read {name}: {getattr(error, 'strerror', None) or error}.") from None
    document = read_document(text, name, ConversionError)
    content = _mapping(document, (), document.value, _KEYS)
    if "forward" in content and "backward" not in content:
        raise document.error(("forward",), "has no backward rule. Give it one, for example backward: full_jam.")
    given = {key: content[key] for key in _KEYS[:2] if key in content}
    default = _halves(document, (), given, None) if given else None
    entries = [Entry("*", default)] if default else []
    for key, make in (("layers", str), ("types", TypeName)):
        for selector, value in _mapping(document, (key,), content.get(key, {})).items():
            if make is TypeName and "." in selector:
                raise document.error((key, selector), "expected the name of a class alone, such as ReLU for nn.ReLU.")
            entries.append(Entry(make(selector), _halves(document, (key, selector), value, default)))
    if not entries:
        raise ConversionError(f"{name} selects nothing. It may have {', '.join(_KEYS)}.")
    return entries


def _mapping(document: Document, path: tuple[str, ...], value: Any, known: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise document.error(path, f"expected 'name: value' lines, got {value!r}.")
    content = cast("dict[str, Any]", value)
    if known and (unknown := sorted(set(content) - set(known))):
        cut = " Within { }, put a spec that has a comma in quotes." if ")" in unknown[0] else ""
        raise document.error((*path, unknown[0]), f"unknown key. There are: {', '.join(known)}.{cut}")
    return content


def _halves(document: Document, path: tuple[str, ...], value: Any, default: Halves | None) -> Halves | None:
    if value is None or isinstance(value, str):
        return halves(value, document.source, default)
    content = _mapping(document, path, value, _KEYS[:2])
    for key, spec in content.items():
        if not isinstance(spec, str):
            raise document.error((*path, key), f"expected a spec such as full_jam, got {spec!r}.")
    return halves(content, f"{document.source}: {'.'.join(path)}", default)
