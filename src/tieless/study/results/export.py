"""Results as flat rows, one per trial, per epoch or per layer of a measurement, written as CSV, JSON or parquet."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPossiblyUnboundVariable=false
# pyarrow has no types; and where it is missing, check() has raised before any use of it.

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args, get_type_hints

from tieless._files import write_whole
from tieless._imports import try_import
from tieless.diagnose import AlignmentRow
from tieless.errors import StudyError
from tieless.study.settings.metrics import ACCURACY
from tieless.study.study import Study
from tieless.study.trial import EpochRecord, Result, Trial

Format = Literal["csv", "json", "parquet"]
_Row = dict[str, Any]


def _column_types(cls: type) -> dict[str, type]:
    """Types of a class's fields by name; ``int | None`` counts as ``int``, for a column may be empty anywhere."""
    return {name: (get_args(hint) or (hint,))[0] for name, hint in get_type_hints(cls).items()}


_TRIAL = {"id": str, **_column_types(Trial), "status": str}
_RECORD = _column_types(EpochRecord)
_ALIGNMENT = {**_column_types(AlignmentRow), "kind": str}
_FINAL = {name: kind for name, kind in _RECORD.items() if name != "seconds"}
_LOOKS = {"added": int, "most_seeds": int}
_END = {
    "predicted_classes": int,
    "classes": int,
    "test_samples": int,
    "chance": float,
    "error": str,
    "seconds": float,
    "started": str,
}
_OF_METRICS = {"metric", "test_metric", "validation_metric", "chance"}
"""Columns of a table in which some run is judged by another metric than the accuracy."""


def _of_trial(result: Result) -> _Row:
    values = {**result.trial.to_dict(), "sources": result.trial.sources or None}
    return {"id": result.trial.id, **values, "status": result.status}


def _told(rows: list[_Row]) -> list[_Row]:
    """Rows without the columns of metrics, if all are judged by the accuracy."""
    if any(row["metric"] != ACCURACY for row in rows):
        return rows
    return [{name: value for name, value in row.items() if name not in _OF_METRICS} for row in rows]


def trial_rows(results: Sequence[Result], study: Study | None = None) -> list[_Row]:
    """Rows of a table of trials: their fields, how they ended, and the numbers of their last finished epoch.

    ``finished_epochs`` counts finished epochs, ``epochs`` the requested ones. Versions and hardware are columns such as
    ``version_torch`` and ``hardware_processor``. If some trial is judged by another metric than the accuracy, there are
    ``metric``, ``test_metric``, ``validation_metric`` and ``chance``. In a study that may get seeds until its claims are decided,
    ``most_seeds`` is their largest number; ``added`` is 1 for runs of added seeds, without which the looks at the data
    could not be told.

    Example:
        >>> from tieless.study import EpochRecord, Result, Trial, trial_rows
        >>> trial = Trial(data="digits", model="mlp", forward="relu", backward="tied", optimiser="sgd", learning_rate=0.1, batch=64,
        ...               epochs=2, seed=0)
        >>> epochs = EpochRecord(0.6, 0.8, 0.7, 0.75, 1.0), EpochRecord(0.3, 0.9, 0.4, 0.86, 1.0)
        >>> results = [Result(trial=trial, status="done", epochs=epochs)]
        >>> (row,) = trial_rows(results)
        >>> row["backward"], row["finished_epochs"], row["test_accuracy"]
        ('tied', 2, 0.86)
    """
    most_seeds = None if study is None else study.most_seeds
    added = {trial.id for trial in study.trials[len(study.trials) - study.added :]} if study is not None else set[str]()
    rows: list[_Row] = []
    for result in results:
        last = result.epochs[-1] if result.epochs else None
        figures = {name: getattr(last, name, None) for name in _FINAL}
        end = {name: getattr(result, name) for name in _END}
        versions = {f"version_{name}": value for name, value in sorted(result.versions.items())}
        hardware = {f"hardware_{name}": value for name, value in sorted(result.hardware.items())}
        looks = {"added": int(result.trial.id in added) if added or most_seeds else None, "most_seeds": most_seeds}
        rows.append(
            {
                **_of_trial(result),
                "finished_epochs": len(result.epochs),
                **figures,
                **end,
                **looks,
                **versions,
                **hardware,
            }
        )
    return _told(rows)


def epoch_rows(results: Sequence[Result]) -> list[_Row]:
    """Rows of a table of epochs, one per finished epoch: the trial's fields, ``epoch`` from 1, the epoch's numbers.

    Example:
        >>> from tieless.study import EpochRecord, Result, Trial, epoch_rows
        >>> trial = Trial(data="digits", model="mlp", forward="relu", backward="tied", optimiser="sgd", learning_rate=0.1, batch=64,
        ...               epochs=2, seed=0)
        >>> epochs = EpochRecord(0.6, 0.8, 0.7, 0.75, 1.0), EpochRecord(0.3, 0.9, 0.4, 0.86, 1.0)
        >>> results = [Result(trial=trial, status="done", epochs=epochs)]
        >>> [(row["epoch"], row["test_accuracy"]) for row in epoch_rows(results)]
        [(1, 0.75), (2, 0.86)]
    """
    rows = [
        {**_of_trial(result), "epoch": i, **{name: getattr(record, name) for name in _RECORD}}
        for result in results
        for i, record in enumerate(result.epochs, start=1)
    ]
    return _told(rows)


def alignment_rows(results: Sequence[Result]) -> list[_Row]:
    """Rows of a table of alignments: one per layer and measurement; the whole network has an empty ``layer``.

    Example:
        >>> from tieless.diagnose import AlignmentRow
        >>> from tieless.study import Result, Trial, alignment_rows
        >>> trial = Trial(data="digits", model="mlp", forward="relu", backward="constant", optimiser="sgd", learning_rate=0.1,
        ...               batch=64, epochs=1, seed=0, monitor=50)
        >>> measured = AlignmentRow(0, "weights", "0", cosine=0.7, sign_agreement=0.8, norm_ratio=1.4, deviation=1.0, norm=1.4,
        ...                         reference_norm=1.0)
        >>> (row,) = alignment_rows([Result(trial=trial, status="done", alignments=(measured,))])
        >>> row["step"], row["layer"], row["cosine"]
        (0, '0', 0.7)
    """
    return _told([{**_of_trial(result), **asdict(row)} for result in results for row in result.alignments])


def trial_columns() -> dict[str, type]:
    """Columns of ``trial_rows`` and their types, without those of versions and hardware, which are texts."""
    return {**_TRIAL, "finished_epochs": int, **_FINAL, **_END, **_LOOKS}


def _columns(rows: Sequence[_Row], *, per_epoch: bool, alignments: bool = False) -> dict[str, type]:
    """Every column and its type, also if a table has no rows or a column no values."""
    if alignments:
        known = {**_TRIAL, **_ALIGNMENT}
    elif per_epoch:
        known = {**_TRIAL, "epoch": int, **_RECORD}
    else:
        known = trial_columns()
    known = {name: kind for name, kind in known.items() if name not in _OF_METRICS or any(name in row for row in rows)}
    return {**known, **{name: str for row in rows for name in row if name not in known}}


def _csv(rows: Sequence[_Row], columns: Mapping[str, type]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def _json(rows: Sequence[_Row], columns: Mapping[str, type]) -> bytes:
    # JSON has no infinity: a figure that is not finite is null, as one that does not exist.
    finite = [
        {name: None if isinstance(v := row.get(name), float) and not math.isfinite(v) else v for name in columns}
        for row in rows
    ]
    return (json.dumps(finite, indent=1, allow_nan=False) + "\n").encode()


def _parquet(rows: Sequence[_Row], columns: Mapping[str, type]) -> bytes:
    with try_import("report") as parquet_extra:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    parquet_extra.check()
    kinds = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in columns.items()])
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), sink)
    return sink.getvalue().to_pybytes()


_WRITERS: dict[Format, Callable[[Sequence[_Row], Mapping[str, type]], bytes]] = {
    "csv": _csv,
    "json": _json,
    "parquet": _parquet,
}


def export_table(
    results: Sequence[Result],
    file: Path | BinaryIO,
    *,
    form: Format,
    study: Study | None = None,
    per_epoch: bool = False,
    alignments: bool = False,
) -> None:
    """Write results as a table, completely or not at all.

    Args:
        results: Results, in the order of the rows.
        file: Path or binary stream to write to; an existing file is replaced, a pipe or a device is written to.
        form: Format: ``"csv"`` (missing is empty), ``"json"`` (a list of objects; missing and not finite are null) or
            ``"parquet"`` (typed columns).
        study: Study of the results, from which a table of trials gets the seeds that were added until claims were
            decided.
        per_epoch: True for one row per epoch (``epoch_rows``) instead of one per trial (``trial_rows``).
        alignments: True for one row per layer that a monitor has measured (``alignment_rows``).
    Raises:
        StudyError: the file cannot be written.
        MissingExtraError: parquet was asked for and pyarrow is not installed.
    Example:
        >>> from io import BytesIO
        >>> from tieless.study import EpochRecord, Result, Trial, export_table
        >>> trial = Trial(data="digits", model="mlp", forward="relu", backward="tied", optimiser="sgd", learning_rate=0.1, batch=64,
        ...               epochs=2, seed=0)
        >>> epochs = EpochRecord(0.6, 0.8, 0.7, 0.75, 1.0), EpochRecord(0.3, 0.9, 0.4, 0.86, 1.0)
        >>> results = [Result(trial=trial, status="done", epochs=epochs)]
        >>> export_table(results, file := BytesIO(), form="csv", per_epoch=True)
        >>> len(file.getvalue().splitlines())  # the head, and an epoch a line
        3
    """
    of_trials = partial(trial_rows, study=study)
    rows = (alignment_rows if alignments else epoch_rows if per_epoch else of_trials)(results)
    columns = _columns(rows, per_epoch=per_epoch, alignments=alignments)
    content = _WRITERS[form](rows, columns)
    if not isinstance(file, (str, Path)):
        file.write(content)
        file.flush()
        return
    try:
        write_whole(Path(file), content)
    except OSError as error:
        folder = Path(file).parent
        why = error.strerror if folder.is_dir() else f"there is no folder {folder}"
        raise StudyError(f"Cannot write {file}: {why}. Choose another with --out.") from error
