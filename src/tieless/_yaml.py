"""YAML text as plain values that remember their lines.

Stricter than YAML 1.1 and less surprising: scalars follow the core schema of YAML 1.2 (``1e-3`` is a number, ``no`` and
``1:30`` are strings), a key given twice is an error, and tags, anchors and aliases are not read.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# PyYAML's own types are partial.

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from tieless.errors import StudyError, TielessError

Path = tuple[str | int, ...]
"""Path of a value: ``("blocks", "sgd", "epochs", 1)``."""

_TAG = "tag:yaml.org,2002:"
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.inf|\.nan")
_CORE_SCHEMA = [
    ("null", re.compile(r"(?:~|null|)$"), ["~", "n", ""]),
    ("bool", re.compile(r"(?:true|True|false|False)$"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+$"), list("-+0123456789")),
    ("float", re.compile(f"(?:{_FLOAT.pattern})$"), list("-+.0123456789")),
]


class _Loader(yaml.SafeLoader):
    """Loader that composes nodes only; ``_Reader`` gives them their meaning."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - the base class keeps it on the class

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark: yaml.Mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem="aliases are not read: write the value out", problem_mark=mark)
        return super().compose_node(parent, index)


for _name, _pattern, _first in _CORE_SCHEMA:
    _Loader.add_implicit_resolver(_TAG + _name, _pattern, _first)


def _problem(problem: str, node: yaml.Node) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


def _number(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_SCALARS: dict[str, Callable[[str], object]] = {
    _TAG + "null": {"": None, "~": None, "null": None}.__getitem__,
    _TAG + "bool": {"true": True, "True": True, "false": False, "False": False}.__getitem__,
    _TAG + "int": int,
    _TAG + "float": _number,
    _TAG + "str": str,
}


class _Reader:
    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}

    def read(self, node: yaml.Node, path: Path = ()) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.read(child, (*path, i)) for i, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag in _SCALARS:
            try:
                return _SCALARS[node.tag](node.value)
            except (KeyError, ValueError):
                raise _problem(f"{node.value!r} does not fit its tag {node.tag}", node) from None
        raise _problem(f"the tag {node.tag} is not read here", node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key, str):
                raise _problem("expected a name as the key", key_node)
            if key in values:
                raise _problem(f"{key!r} is given twice", key_node)
            # The line of a key, not of its value: a value may start lines below.
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            values[key] = self.read(value_node, (*path, key))
        return values


def _compose(text: str, source: str, refusal: type[TielessError], *, has_lines: bool) -> tuple[Any, dict[Path, int]]:
    reader = _Reader()
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        value = None if node is None else reader.read(node)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark and has_lines else ""
        problem = error.problem or error.context or ""
        colon = " A text with a colon and a space in it needs quotes." if problem.startswith("mapping values") else ""
        raise refusal(f"{source}{line}: {problem}.{colon}") from None
    except yaml.YAMLError as error:
        raise refusal(f"{source}: not YAML text: {' '.join(str(error).split())}.") from None
    except RecursionError:
        raise refusal(f"{source}: nested too deep to be read.") from None
    return value, reader.lines


@dataclass(frozen=True, slots=True)
class Document:
    """YAML mapping, with its name in errors and the line of each of its values.

    Args:
        source: Name, most often a path.
        value: Content of the mapping.
        lines: Line of each value, by its path.
        refusal: Class of its errors.
    """

    source: str
    value: dict[str, Any]
    lines: dict[Path, int] = field(default_factory=dict[Path, int])
    refusal: type[TielessError] = StudyError

    def line(self, path: Sequence[str | int]) -> int:
        """Line of the value at ``path``, or of the nearest value around it; 0 if lines are not known."""
        known = tuple(path)
        while known and known not in self.lines:
            known = known[:-1]
        return self.lines.get(known, 0)

    def error(self, path: Sequence[str | int], problem: str) -> TielessError:
        """Error for the value at ``path``: ``study.yaml:12: grid.epochs: expected ...``."""
        line = self.line(path)
        where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).lstrip(".")
        return self.refusal(
            ": ".join([f"{self.source}:{line}" if line else self.source, *filter(None, [where]), problem])
        )


def read_document(text: str, source: str, refusal: type[TielessError] = StudyError) -> Document:
    r"""Read a YAML mapping.

    Args:
        text: Text in YAML.
        source: Name in errors, most often its path.
        refusal: Class of its errors.
    Raises:
        StudyError, or ``refusal``: the text is not YAML or not a mapping, or a key is given twice; the message starts
        ``source:line:``.
    Example:
        >>> document = read_document("grid:\n  epochs: [1, 2]", "study.yaml")
        >>> document.value, document.lines["grid", "epochs"]
        ({'grid': {'epochs': [1, 2]}}, 2)
    """
    value, lines = _compose(text, source, refusal, has_lines=True)
    if not isinstance(value, dict):
        raise refusal(f"{source}: expected 'key: value' lines, got {'nothing' if value is None else repr(value)}.")
    return Document(source, value, lines, refusal)  # pyright: ignore[reportUnknownArgumentType]


def read_value(text: str, source: str) -> Any:
    """Read one YAML value, as it follows the ``=`` of ``--set``.

    Example:
        >>> read_value("[0, 1e-3, relu]", "--set")
        [0, 0.001, 'relu']
    """
    return _compose(text, source, StudyError, has_lines=False)[0]


def write_value(value: float | str | None) -> str:
    """Write a number, a name or ``None`` so that ``read_value`` reads it back, in as few digits as that takes.

    Example:
        >>> [write_value(value) for value in (0.1, 1.0, 0.001234567, 64, None)]
        ['0.1', '1', '0.001234567', '64', 'null']
    """
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return "null" if value is None else str(value)
