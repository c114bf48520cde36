"""Records of a store, read from their text."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec
from pydantic_core import from_json

from tieless.diagnose import AlignmentRow
from tieless.errors import TielessError
from tieless.study.trial import EpochRecord, Result, Status, Trial

RecordT = TypeVar("RecordT")

_DAMAGED = (ValueError, TypeError, KeyError, AttributeError)
"""Errors of reading a record that is no JSON, or not of the written form."""


def _strict(cls: type[Any]) -> type[Any]:
    """Struct with the fields of a dataclass, which is read without any other: a misspelt name is no default."""
    hints = get_type_hints(cls)
    known = [
        (f.name, hints[f.name]) if f.default is MISSING else (f.name, hints[f.name], f.default) for f in fields(cls)
    ]
    return msgspec.defstruct(cls.__name__, known, forbid_unknown_fields=True, gc=False)


if TYPE_CHECKING:
    _Epoch = EpochRecord
    _Row = AlignmentRow
else:
    _Epoch, _Row = _strict(EpochRecord), _strict(AlignmentRow)


class _Written(msgspec.Struct):
    """Record of a result, as ``Result.to_dict`` writes it."""

    trial: msgspec.Raw
    status: Status
    epochs: tuple[_Epoch, ...]
    versions: msgspec.Raw
    hardware: msgspec.Raw
    predicted_classes: int | None
    classes: int | None
    error: str | None
    seconds: float
    started: str
    test_samples: int | None = None
    alignments: tuple[_Row, ...] = ()
    chance: float | None = None


_WRITTEN = msgspec.json.Decoder(_Written)
_values: Callable[[Any], tuple[Any, ...]] = msgspec.structs.astuple
_NAMES = msgspec.json.Decoder(dict[str, str])


def read(text: str, build: Callable[[dict[str, Any]], RecordT]) -> RecordT | str:
    """Value that ``build`` makes of a record, or a description of its damage."""
    try:
        return build(_parsed(text))
    except TielessError:
        raise
    except _DAMAGED as error:
        return f"{type(error).__name__}: {error}"


def _parsed(text: str) -> Any:
    try:
        return from_json(text)
    except ValueError:
        # The quicker parser takes no half of a surrogate pair, as file names that are no UTF-8 have in messages.
        return json.loads(text)


class Reader:
    """Reader of the records of a store. It makes once what many records share: the fields of a cell, versions, hardware."""

    def __init__(self) -> None:
        self._cells: dict[tuple[bytes, bytes], Trial] = {}
        self._shared: dict[bytes, dict[str, str]] = {}

    def result(self, name: str, text: str) -> Result | str:
        """Result of the trial with the id ``name``, or a description of its record's damage."""
        try:
            return self._result(name, text)
        except (msgspec.MsgspecError, *_DAMAGED):
            # NaN, which is no JSON and in records of numbers to predict; an older record; or damage.
            return read(text, lambda record: Result.from_dict(record, known_id=name))

    def _result(self, name: str, text: str) -> Result:
        written = _WRITTEN.decode(text)
        return Result(
            trial=self._trial(name, bytes(written.trial)),
            status=written.status,
            epochs=tuple([EpochRecord(*_values(epoch)) for epoch in written.epochs]),
            predicted_classes=written.predicted_classes,
            classes=written.classes,
            test_samples=written.test_samples,
            error=written.error,
            seconds=written.seconds,
            started=written.started,
            versions=self._names(bytes(written.versions)),
            hardware=self._names(bytes(written.hardware)),
            alignments=tuple([AlignmentRow(*_values(row)) for row in written.alignments]),
            chance=written.chance,
        )

    def trial(self, name: str, text: str) -> Trial | str:
        """Trial with the id ``name``, or a description of its record's damage."""
        try:
            return self._trial(name, text.encode())
        except _DAMAGED:
            return read(text, lambda record: Trial.from_dict(record, known_id=name))

    def _trial(self, name: str, text: bytes) -> Trial:
        """Trial from its record. Those of a cell have one text but for the seed, which is read once."""
        head, _, tail = text.partition(b'"seed": ')
        seed, _, rest = tail.partition(b",")
        if not seed.isdigit():
            return Trial.from_dict(_parsed(text.decode()), known_id=name)
        known = self._cells.get((head, rest))
        if known is None:
            known = self._cells[head, rest] = Trial.from_dict(_parsed(text.decode()))
        return known.with_seed(int(seed), known_id=name)

    def _names(self, text: bytes) -> dict[str, str]:
        found = self._shared.get(text)
        if found is None:
            found = self._shared[text] = _NAMES.decode(text)
        return found
