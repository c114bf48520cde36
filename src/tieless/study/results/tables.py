"""Reader of tables that ``export_table`` wrote: results to judge and report without their folder."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false, reportPossiblyUnboundVariable=false
# pyarrow has no types; and where it is missing, check() has raised before any use of it.

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, cast, get_args

from tieless._imports import try_import
from tieless.errors import StudyError, TielessError
from tieless.study.choose import Choose
from tieless.study.judging.pairing import has_cells
from tieless.study.results import columns
from tieless.study.settings.metrics import ACCURACY
from tieless.study.study import Study
from tieless.study.trial import DEFAULTS_OF_LATER_FIELDS, SPELLINGS, EpochRecord, Result, Status, Trial

_Row = Mapping[str, Any]
_Check = Callable[[Path, Sequence[str], Sequence[object]], None]
# A table of an earlier version lacks what came later, and an id follows from the settings.
_LATER = {
    *DEFAULTS_OF_LATER_FIELDS,
    *("validation_loss", "validation_accuracy", "added", "most_seeds", "test_samples"),
    *("test_metric", "validation_metric", "chance"),
}
_NEEDED = frozenset(columns.COLUMNS) - {"id", *_LATER}
_AGAIN = "export it again with 'tieless study export DIR --format csv'"
_MOST_EPOCHS = 1_000_000
"""Largest number of epochs of a run that is read: each has a record."""


def load_table(file: Path, study: Study | None = None, *, check_ids: bool = False) -> tuple[Study, list[Result]]:
    """Read a table of trials, and its study as far as the table has it.

    A table has only the last epoch of each run: the ``EpochRecord``s of earlier epochs have NaN and ``None``. A table
    of an earlier version lacks the number of test samples and does not mark the seeds that were added,
    so that these count as planned. A table that a spreadsheet or pandas has rewritten is read as it was: ``10.0`` is
    the integer 10, NaN is an empty cell.

    Args:
        file: File that ``export_table`` wrote, one row per trial: ``.csv``, ``.json`` or ``.parquet``.
        study: Study whose title, question and claims are taken, the claims as far as the table has runs for them.
            Without a study, the title is the file's name and there are no claims.
        check_ids: True to refuse a run that does not have the id of its settings: its row was changed, or the
            computation of such a run has changed since. Those runs can be compared with each other, but not with runs
            of this version.
    Returns:
        Study whose trials are those of the table, and their results. Both are in the order of the rows, except that
        added seeds come last. If some runs were made to choose a learning rate, the study is one that chooses.
    Raises:
        StudyError: the file cannot be read, is no such table, or has a value that no run can have. The message gives
            the row, the expected value and the given one in one line.
        MissingExtraError: the file is parquet and pyarrow is not installed.
    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from tieless.study import EpochRecord, Result, Trial, export_table, load_table
        >>> trial = Trial(data="digits", model="mlp", forward="relu", backward="tied", optimiser="sgd", learning_rate=0.1, batch=64,
        ...               epochs=1, seed=0)
        >>> result = Result(trial=trial, status="done", epochs=(EpochRecord(0.6, 0.8, 0.7, 0.75, 1.0),))
        >>> with TemporaryDirectory() as folder:
        ...     export_table([result], Path(folder) / "trials.csv", form="csv")
        ...     study, (found,) = load_table(Path(folder) / "trials.csv")
        >>> study.title, study.trials == (trial,), found.epochs[-1].test_accuracy
        ('Results in trials.csv', True, 0.75)
    """
    file = Path(file)
    if (read := _READERS.get(file.suffix.lower())) is None:
        raise StudyError(f"Cannot read {file}: a table ends in {', '.join(_READERS)}.")
    try:
        rows = read(file.read_bytes(), file, _check_columns)
    except OSError as error:
        raise StudyError(f"Cannot read {file}: {error.strerror}.") from error
    results: dict[Trial, Result] = {}
    added: dict[Trial, Result] = {}
    most_seeds: int | None = None
    for place, row in enumerate(rows, start=1):
        try:
            result = _result(row)
            if check_ids:
                _check_id(row, result.trial)
            most_seeds = columns.read(row, "most_seeds") if place == 1 else most_seeds
            late = _is_added(row, most_seeds)
        except TielessError as error:
            raise StudyError(f"{file}, row {place}: {error}") from None
        if result.trial in results or result.trial in added:
            raise StudyError(f"{file}, row {place}: a row above it is of the same run. One run has one row.")
        (added if late else results)[result.trial] = result
    known = [*results.values(), *added.values()]
    found = replace(_study(file, known, study), added=len(added), most_seeds=most_seeds)
    return found, known


def read_rows(file: Path, needed: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of any table with these columns: texts of a CSV, values of JSON or parquet; ``None`` for an empty cell.

    Raises:
        StudyError: the file cannot be read, lacks a column or has no rows.
        MissingExtraError: the file is parquet and pyarrow is not installed.
    """

    def check(_: Path, names: Sequence[str], rows: Sequence[object]) -> None:
        if lacking := [name for name in needed if name not in names]:
            there = ", ".join(names) or "none"
            raise StudyError(f"{file} has no column {lacking[0]!r}; it has {there}.")
        if not rows:
            raise StudyError(f"{file} has no rows.")

    if (read := _READERS.get(file.suffix.lower())) is None:
        raise StudyError(f"Cannot read {file}: a table ends in {', '.join(_READERS)}.")
    try:
        return read(file.read_bytes(), file, check)
    except OSError as error:
        raise StudyError(f"Cannot read {file}: {error.strerror}.") from error


def _csv(content: bytes, file: Path, check: _Check) -> list[dict[str, Any]]:
    try:
        # Spreadsheets begin UTF-8 with a byte-order mark.
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise StudyError(f"Cannot read {file}: it is no CSV of UTF-8 text ({error}).") from None
    names = list(reader.fieldnames or [])
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise StudyError(f"Cannot read {file}: it has the column {twice} twice; rename one.")
    check(file, names, rows)
    for place, row in enumerate(rows, start=1):
        # DictReader puts surplus values under None, and None in place of missing ones.
        if None in row or None in row.values():
            raise StudyError(f"{file}, row {place}: expected {len(names)} values, one a column.")
    return [{name: value or None for name, value in row.items()} for row in rows]


def _json(content: bytes, file: Path, check: _Check) -> list[dict[str, Any]]:
    try:
        rows = cast("object", json.loads(content))
    except (ValueError, RecursionError) as error:
        raise StudyError(f"Cannot read {file}: it is no JSON ({error}).") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in cast("list[object]", rows)):
        raise StudyError(f"Cannot read {file}: expected a list of objects, one a run; {_AGAIN}.")
    found = cast("list[dict[str, Any]]", rows)
    check(file, list(found[0]) if found else [], found)
    for row in found:
        check(file, list(row), found)
    return found


def _parquet(content: bytes, file: Path, check: _Check) -> list[dict[str, Any]]:
    with try_import("report") as parquet_extra:
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.parquet as pq  # noqa: PLC0415
    parquet_extra.check()
    try:
        rows = pq.read_table(pa.BufferReader(content)).to_pylist()
    except (pa.ArrowException, OSError, ValueError) as error:
        raise StudyError(f"Cannot read {file}: it is no parquet ({str(error).splitlines()[0]}).") from None
    check(file, list(rows[0]) if rows else [], rows)
    return rows


_READERS: dict[str, Callable[[bytes, Path, _Check], list[dict[str, Any]]]] = {
    ".csv": _csv,
    ".json": _json,
    ".parquet": _parquet,
}


def _check_columns(file: Path, names: Sequence[str], rows: Sequence[object]) -> None:
    if rows and "step" in names:
        raise StudyError(f"Cannot read {file}: it has a row for each layer, not one a run; {_AGAIN}.")
    if rows and "epoch" in names:
        raise StudyError(f"Cannot read {file}: it has a row for each epoch, not one a run; {_AGAIN}.")
    if lacking := sorted(_NEEDED - set(names)):
        what = f"no column {lacking[0]}" if names else "no rows"
        raise StudyError(f"Cannot read {file}: it has {what}; {_AGAIN}.")
    if not rows:
        raise StudyError(f"Cannot read {file}: it has no rows; run its study first, then {_AGAIN}.")


def _is_added(row: _Row, most_seeds: int | None) -> bool:
    """True if the run's seed was added to those planned; a study has one number of seeds that it may get."""
    most, added = columns.count(row, "most_seeds"), columns.flag(row, "added")
    if most != most_seeds:
        raise StudyError(f"most_seeds: expected {most_seeds} as in the first row, got {most}.")
    if added not in ((None, 0, 1) if most is None else (0, 1)):
        raise StudyError(f"added: expected 0 or 1, got {added}.")
    return bool(added)


def _check_id(row: _Row, trial: Trial) -> None:
    given = columns.read(row, "id")
    if given != trial.id:
        raise StudyError(
            f"id: expected {trial.id} of a run with these settings, got {given or 'none'}. The row was changed, or an earlier"
            " version made it, which computed something else: run the study instead."
        )


def _result(row: _Row) -> Result:
    trial = _trial(row)
    status: Status = columns.read(row, "status")
    if status not in get_args(Status):
        raise StudyError(f"status: expected one of {', '.join(get_args(Status))}, got {status!r}.")
    finished = columns.read(row, "finished_epochs")
    if finished is None or not 0 <= finished <= trial.epochs or (status == "done" and finished != trial.epochs):
        expected = trial.epochs if status == "done" else f"0 to {trial.epochs}"
        raise StudyError(f"finished_epochs: expected {expected} in a run that is {status}, got {finished}.")
    if finished > _MOST_EPOCHS:
        raise StudyError(f"finished_epochs: expected {_MOST_EPOCHS:,} at most, got {finished}.")
    last = EpochRecord(
        columns.or_nan(columns.loss(row, "train_loss")),
        columns.or_nan(columns.fraction(row, "train_accuracy")),
        columns.or_none(columns.loss(row, "test_loss")),
        columns.or_none(columns.fraction(row, "test_accuracy")),
        math.nan,
        columns.or_none(columns.loss(row, "validation_loss")),
        columns.or_none(columns.fraction(row, "validation_accuracy")),
        columns.or_none(columns.loss(row, "test_metric")),
        columns.or_none(columns.loss(row, "validation_metric")),
    )
    kind = "accuracy" if trial.metric == ACCURACY else "metric"
    looked_at = f"validation_{kind}" if trial.test == "never" else f"test_{kind}"
    if status == "done" and getattr(last, looked_at) is None:
        if kind == "accuracy" and (given := columns.fraction(row, looked_at)) is not None:
            raise StudyError(f"{looked_at}: expected a fraction from 0 to 1, got {given:g}.")
        raise StudyError(f"{looked_at}: a run that is done has one, got none.")
    before = EpochRecord(math.nan, math.nan, None, None, math.nan)
    classes, predicted = columns.count(row, "classes"), columns.count(row, "predicted_classes")
    if classes is not None and predicted is not None and predicted > classes:
        raise StudyError(f"predicted_classes: expected at most the {classes} of classes, got {predicted}.")
    started, seconds = columns.time(row)
    return Result(
        trial=trial,
        status=status,
        epochs=((before,) * (finished - 1) + (last,)) if finished else (),
        predicted_classes=predicted,
        classes=classes,
        test_samples=columns.count(row, "test_samples"),
        error=columns.read(row, "error"),
        seconds=seconds,
        started=started,
        versions=_named(row, "version_"),
        hardware=_named(row, "hardware_"),
        chance=columns.or_none(columns.loss(row, "chance")),
    )


def _trial(row: _Row) -> Trial:
    values: dict[str, Any] = {f.name: columns.read(row, f.name) for f in fields(Trial)}
    values = {name: DEFAULTS_OF_LATER_FIELDS.get(name) if value is None else value for name, value in values.items()}
    values["validation"] = columns.or_none(values["validation"])
    # In a text, NaN is how pandas may write an empty cell.
    values["sources"] = "" if values["sources"] == "nan" else values["sources"]
    if lacking := [name for name, value in values.items() if value is None and name not in {"subset", "validation"}]:
        raise StudyError(f"{lacking[0]}: a run has one, got none.")
    return Trial(**{name: _spelled(name, value) for name, value in values.items()})


def _spelled(name: str, value: Any) -> Any:
    try:
        return SPELLINGS[name](value) if name in SPELLINGS else value
    except TielessError as error:
        raise StudyError(f"{name}: {error}") from None


def _named(row: _Row, prefix: str) -> dict[str, str]:
    found = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
    return {name: str(value) for name, value in found.items() if value is not None and not columns.is_nan(value)}


def _study(file: Path, results: Sequence[Result], study: Study | None) -> Study:
    trials = tuple(result.trial for result in results)
    never = [trial for trial in trials if trial.test == "never"]
    choose = None
    asked = trials
    if never:
        # One part for all, and where the runs that choose first are shorter than those that are judged, one length: longer
        # ones among those that choose confirm.
        lengths = {trial.epochs for trial in never}
        judged = {trial.epochs for trial in trials if trial.test != "never"} or lengths
        seeds = tuple(dict.fromkeys(trial.seed for trial in never))
        choose = Choose(never[0].validation or 0.0, seeds)
        if min(lengths) not in judged:
            choose = replace(choose, epochs=min(lengths), confirm=not lengths.isdisjoint(judged))
            asked = tuple(replace(trial, epochs=max(judged)) for trial in trials)
    found = Study(
        name=file.stem,
        run_as=f"{file.stem}.yaml",
        title=f"Results in {file.name}",
        question="What the table tells, one row a run.",
        core_hours=round(sum(result.seconds for result in results) / 3600, 3),
        settings=_settings(asked, chooses=choose is not None),
        choose=choose,
        trials=trials,
    )
    if study is None:
        return found
    claims = tuple(claim for claim in study.claims if has_cells(claim, never or trials, chooses=choose is not None))
    return replace(found, name=study.name, title=study.title, question=study.question, table=study.table, claims=claims)


def _settings(trials: Sequence[Trial], *, chooses: bool) -> dict[str, Any]:
    """Grid of the settings that all cells share, and a block for each cell: read as a study, it has these trials."""
    aside = {"seed", "sources", *(("learning_rate", "validation", "test") if chooses else ())}
    names = [f.name for f in fields(Trial) if f.name not in aside]
    cells: dict[tuple[Any, ...], dict[str, dict[Any, None]]] = {}
    for trial in trials:
        axes = cells.setdefault(tuple(getattr(trial, name) for name in names), {"learning_rate": {}, "seeds": {}})
        axes["learning_rate"][trial.learning_rate] = None
        if not (chooses and trial.test == "never"):
            axes["seeds"][trial.seed] = None
    written = [
        {
            **{
                name: value
                for name, value in zip(names, cell, strict=True)
                if DEFAULTS_OF_LATER_FIELDS.get(name, ()) != value
            },
            **({"learning_rate": list(axes["learning_rate"])} if chooses else {}),
            # A study that still chooses has no final runs yet.
            "seeds": list(axes["seeds"]) or [0],
        }
        for cell, axes in cells.items()
    ]
    shared = {name: value for name, value in written[0].items() if all(one.get(name, ()) == value for one in written)}
    blocks = [{name: value for name, value in one.items() if name not in shared} for one in written]
    return {
        "grid": shared,
        **({"blocks": {f"cell-{i}": one for i, one in enumerate(blocks)}} if blocks != [{}] else {}),
    }
