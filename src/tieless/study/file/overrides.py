"""Overrides of a study file: ``key=value`` for every block, for one block, or to pick blocks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from tieless._yaml import Document, read_value
from tieless.errors import StudyError
from tieless.study.file.grid import Axes
from tieless.study.file.schema import GridModel, validate


@dataclass(frozen=True, slots=True)
class Overrides:
    """Overrides that ``--set`` gives.

    Args:
        blocks: Blocks to run; ``None`` for all.
        everywhere: Axes that replace those of the grid and of every block.
        within: Axes of one block, by its name.
    """

    blocks: tuple[str, ...] | None = None
    everywhere: Axes = field(default_factory=dict[str, list[Any]])
    within: dict[str, Axes] = field(default_factory=dict[str, Axes])


def _known(names: list[Any], there: Sequence[str], source: str) -> tuple[str, ...]:
    listed = f"there are {', '.join(there)}" if there else "this study has none"
    for name in names:
        if name not in there:
            raise StudyError(f"{source}: unknown block {name!r}; {listed}.")
    if not names:
        raise StudyError(f"{source}: expected at least one block; {listed}.")
    return tuple(names)


def parse_overrides(texts: Iterable[str], blocks: Iterable[str]) -> Overrides:
    """Read overrides from texts ``key=value``, the values in YAML.

    Args:
        texts: Texts such as ``epochs=1`` for every block, ``adam.epochs=1`` for the block ``adam``, or
            ``blocks=[adam]`` to pick blocks.
        blocks: Names of the blocks that exist.
    Raises:
        StudyError: a text is not ``key=value``, sets a key again, or its key, block or value is not valid.
    Example:
        >>> parse_overrides(["epochs=1", "adam.batch=[32, 64]"], ["sgd", "adam"])
        Overrides(blocks=None, everywhere={'epochs': [1]}, within={'adam': {'batch': [32, 64]}})
    """
    there = tuple(blocks)
    picked: tuple[str, ...] | None = None
    everywhere: dict[str, list[Any]] = {}
    within: dict[str, Axes] = {}
    given: set[str] = set()
    for text in texts:
        source = f"--set {text}"
        key, equals, value = (part.strip() for part in text.partition("="))
        if not (equals and key):
            raise StudyError(f"{source}: expected key=value, such as epochs=1.")
        if key in given:
            raise StudyError(f"{source}: {key} is set twice.")
        given.add(key)
        parsed = read_value(value, source)
        block, _, name = key.rpartition(".")
        if key == "blocks":
            picked = _known(cast("list[Any]", parsed if isinstance(parsed, list) else [parsed]), there, source)
            continue
        axes = validate(GridModel, Document(source, {name: parsed})).given()
        if block:
            _known([block], there, source)
            within[block] = {**within.get(block, {}), **axes}
        else:
            everywhere.update(axes)
    return Overrides(picked, everywhere, within)
