"""Logs for the measurements of a monitor: a CSV file, or TensorBoard."""

from __future__ import annotations

import csv
import importlib
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from tieless._imports import try_import
from tieless.diagnose.gradients.monitor import AlignmentRow, Measurement

FIGURES = tuple(field.name for field in fields(AlignmentRow) if field.name not in {"step", "kind", "layer"})


class CsvLog:
    """CSV file with one line for each layer of each measurement, written to the disk as soon as it is made.

    The columns are the fields of ``AlignmentRow``. A measurement that failed has no lines.

    Args:
        file: Path of the file. An existing file is replaced; a missing folder is made.
    Example:
        >>> from tieless.diagnose import AlignmentMonitor, CsvLog
        >>> log = CsvLog(folder / "alignment.csv")  # doctest: +SKIP
        >>> monitor = AlignmentMonitor(net, loss_fn, logs=[log])  # doctest: +SKIP
    """

    def __init__(self, file: str | Path) -> None:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        # Written line by line as training goes on, and closed by `close`.
        self._stream = Path(file).open("w", encoding="utf-8", newline="")  # noqa: SIM115
        self._writer = csv.DictWriter(self._stream, [field.name for field in fields(AlignmentRow)], lineterminator="\n")
        self._writer.writeheader()
        self._stream.flush()

    def write(self, measurement: Measurement) -> None:
        """Add the lines of a measurement."""
        self._writer.writerows([asdict(row) for row in measurement.rows()])
        self._stream.flush()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()


class TensorBoardLog:
    """Scalars for TensorBoard: ``cosine/weights/LAYER`` and so on, by step; the layer ``(all)`` is the whole model.

    Args:
        target: Folder for a new ``SummaryWriter``, or an existing writer, which is not closed.
    Raises:
        MissingExtraError: the package ``tensorboard`` is not installed.
    Example:
        >>> from tieless.diagnose import AlignmentMonitor, TensorBoardLog
        >>> monitor = AlignmentMonitor(net, loss_fn, logs=[TensorBoardLog("runs/jam")])  # doctest: +SKIP
    """

    def __init__(self, target: Any) -> None:
        self._own = isinstance(target, (str, Path))
        if self._own:
            # Importing it takes longer than importing tieless.
            with try_import("tensorboard") as extra:
                board: Any = importlib.import_module("torch.utils.tensorboard")
            extra.check()
            target = board.SummaryWriter(str(target))  # pyright: ignore[reportPossiblyUnboundVariable]
        self._writer = target

    def write(self, measurement: Measurement) -> None:
        """Add the scalars of a measurement."""
        for row in measurement.rows():
            for figure in FIGURES:
                tag = f"{figure}/{row.kind}/{row.layer or '(all)'}"
                self._writer.add_scalar(tag, getattr(row, figure), row.step)
        self._writer.flush()

    def close(self) -> None:
        """Close the writer, if this log has made it."""
        if self._own:
            self._writer.close()
