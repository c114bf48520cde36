"""A conversion in a YAML file: read as data, refused in one line."""

# pyright: reportPossiblyUnboundVariable=false
# Where PyYAML is missing, the check at the first use says so.

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path
from typing import Any, cast

from tieless._imports import try_import
from tieless.convert.select import Entry, Halves, TypeName, halves
from tieless.errors import ConversionError

with try_import("study") as _yaml_extra:
    import yaml

__all__ = ["read_file"]

_KEYS = ("forward", "backward", "layers", "types")


def read_file(path: str | PathLike[str]) -> list[Entry[Halves]]:
    """The selectors of a file: ``layers`` by name or glob, ``types`` by class, ``forward`` and ``backward`` for the rest.

    Raises:
        ConversionError: the file is not there, is no YAML mapping, or has keys or values that are not known.
    """
    _yaml_extra.check()
    name = fspath(path)
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConversionError(f"Cannot read {name}: {getattr(error, 'strerror', None) or error}.") from None
    content = _mapping(_parse(text, name), name)
    _check_keys(content, _KEYS, name)
    default = None
    if "backward" in content or "forward" in content:
        given = {key: _spec(content[key], f"{name}: {key}") for key in ("forward", "backward") if key in content}
        default = halves(given, name) if "backward" in given else None
        if default is None:
            raise ConversionError(
                f"{name} has a forward and no backward rule. Give it one, for example backward: full_jam."
            )
    entries = [Entry("*", default)] if default else []
    for key, make in (("layers", str), ("types", TypeName)):
        for selector, value in _mapping(content.get(key, {}), f"{name}: {key}").items():
            entries.append(Entry(make(selector), _halves(value, f"{name}: {selector}", default)))
    if not entries:
        raise ConversionError(f"{name} selects nothing. It may have {', '.join(_KEYS)}.")
    return entries


def _parse(text: str, name: str) -> Any:
    try:
        _refuse_doubles(yaml.compose(text, yaml.SafeLoader), name)
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConversionError(f"{name} is no YAML: {' '.join(str(error).split())}.") from None


def _refuse_doubles(node: Any, name: str) -> None:
    """YAML lets the last of two equal keys win, silently."""
    if not isinstance(node, yaml.MappingNode):
        return
    keys = [key.value for key, _ in node.value]
    for key, (_, value) in zip(keys, node.value, strict=True):
        if keys.count(key) > 1:
            raise ConversionError(f"{name} has {key!r} twice. Keep one.")
        _refuse_doubles(value, name)


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in cast("dict[Any, Any]", value)):
        raise ConversionError(f"{what} must be a mapping with names as keys, got {value!r}.")
    return cast("dict[str, Any]", value)


def _check_keys(content: dict[str, Any], known: tuple[str, ...], what: str) -> None:
    if unknown := sorted(set(content) - set(known)):
        raise ConversionError(f"{what} has the unknown key {unknown[0]!r}. There are: {', '.join(known)}.")


def _spec(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise ConversionError(f"{what} must be a spec such as full_jam, got {value!r}.")
    return value


def _halves(value: Any, what: str, default: Halves | None) -> Halves | None:
    if value is None:
        return None
    if isinstance(value, str):
        return halves(value, what, default)
    content = _mapping(value, what)
    _check_keys(content, ("forward", "backward"), what)
    return halves({key: _spec(spec, f"{what}: {key}") for key, spec in content.items()}, what, default)
