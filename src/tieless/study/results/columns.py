"""Columns of a table of trials and the values allowed in each, as a spreadsheet or pandas may have written them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tieless._yaml import write_value
from tieless.errors import StudyError
from tieless.study.results.export import trial_columns

COLUMNS = trial_columns()
"""Names and types of the columns."""

_Row = Mapping[str, Any]
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?inf|nan", re.ASCII | re.IGNORECASE)
_EXACT = 2**53
"""Limit below which every whole number is a float."""
_MOST_SECONDS = 1e9


def read(row: _Row, name: str) -> Any:
    """Value of a column in its type; ``None`` for an empty cell.

    Args:
        row: Texts, or values of JSON or parquet, by the name of their column.
        name: Name of a column, one of ``COLUMNS``.
    Raises:
        StudyError: the value has another type. ``10.0`` and ``"1e1"`` are integers.
    """
    given, kind = row.get(name), COLUMNS[name]
    if given is None or (kind is not float and is_nan(given)):
        return None
    if kind is str and isinstance(given, str):
        return given
    number = None if kind is str else _number(given)
    if number is not None and kind is float:
        return float(number)
    if isinstance(number, int):
        return number
    if number is not None and is_nan(number):
        return None
    if number is not None and number.is_integer() and abs(number) < _EXACT:
        return int(number)
    expected = {str: "text", int: "an integer", float: "a number"}[kind]
    raise StudyError(f"{name}: expected {expected}, got {_shown(given)}.")


def is_nan(value: object) -> bool:
    """True if a value is NaN, which pandas writes for an empty cell."""
    return isinstance(value, float) and math.isnan(value)


def _number(value: object) -> int | float | None:
    """Number that a value or its text gives; ``None`` for anything else."""
    if isinstance(value, str):
        text = value.strip()
        if not _NUMBER.fullmatch(text):
            return None
        # Text of many digits is no integer that Python reads.
        return int(text) if text.lstrip("+-").isdigit() and len(text) < 20 else float(text)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if isinstance(value, float) or abs(value) < 10**19 else math.copysign(math.inf, value)


def _shown(value: object) -> str:
    """Value for a message, cut if it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _within(row: _Row, name: str, allowed: Callable[[Any], bool], expected: str) -> Any:
    """Value if it is missing or allowed."""
    value = read(row, name)
    if value is not None and not allowed(value):
        raise StudyError(f"{name}: expected {expected}, got {write_value(value)}.")
    return value


def count(row: _Row, name: str) -> int | None:
    """Count, 1 or more."""
    return _within(row, name, lambda value: value >= 1, "1 or more")


def fraction(row: _Row, name: str) -> float | None:
    """Accuracy; NaN if a run has none."""
    return _within(row, name, lambda value: math.isnan(value) or 0 <= value <= 1, "a fraction from 0 to 1")


def loss(row: _Row, name: str) -> float | None:
    """Loss, finite, or NaN if a run has none."""
    return _within(row, name, lambda value: not math.isinf(value), "a finite number")


def flag(row: _Row, name: str) -> int | None:
    """Flag, 0 or 1, which some programs write as False and True."""
    known = {"true": 1, "false": 0}.get(str(row.get(name)).strip().lower())
    return read(row, name) if known is None else known


def or_nan(value: float | None) -> float:
    """Number, or NaN for ``None``."""
    return math.nan if value is None else value


def or_none(value: float | None) -> float | None:
    """Number, or ``None`` for NaN."""
    return None if value is None or math.isnan(value) else value


def time(row: _Row) -> tuple[str, float]:
    """Time at which a run started, in ISO 8601 or empty, and the seconds that it took."""
    expected = f"seconds from 0 to {_MOST_SECONDS:g}"
    seconds: float = _within(row, "seconds", lambda value: 0 <= value <= _MOST_SECONDS, expected) or 0.0
    started: str | None = read(row, "started")
    if started is None:
        return "", seconds
    try:
        # Python 3.10 does not know Z.
        moment = datetime.fromisoformat(re.sub("[zZ]$", "+00:00", started.strip()))
        _ = moment + timedelta(seconds=seconds)
    except (ValueError, OverflowError):
        raise StudyError(
            f"started: expected a time such as 2026-11-28T13:06:54+00:00, got {_shown(started)}."
        ) from None
    return moment.isoformat(timespec="seconds"), seconds
