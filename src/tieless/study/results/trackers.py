"""Results as the files of an experiment tracker: TensorBoard, MLflow or wandb's offline runs.

A store has all that a tracker shows, so that it is written from there: of any study, at any time, without a hook in the training.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from tieless._imports import try_import
from tieless.errors import StudyError
from tieless.study.trial import EpochRecord, Result, outcome

Tracker = Literal["tensorboard", "mlflow", "wandb"]

_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_FILE_STORE": "true",
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
}
"""Variables that keep these packages from telling anyone of anything."""


def export_runs(results: Sequence[Result], folder: Path, tracker: Tracker, project: str) -> int:
    """Write results as runs of a tracker: settings, the figures of each epoch at their time, and the final metric.

    Args:
        results: Results, each a run of its own under the id of its trial.
        folder: Folder of the files: ``tensorboard --logdir FOLDER``, ``mlflow ui --backend-store-uri FOLDER``, or ``wandb
            sync FOLDER/wandb/offline-run-*``. It must be new or empty.
        tracker: Tracker: ``"tensorboard"``, ``"mlflow"`` or ``"wandb"``.
        project: Name of the experiment or project.
    Returns:
        Number of runs.
    Raises:
        StudyError: the folder has files, or cannot be written.
        MissingExtraError: the package is not installed.
    Example:
        >>> from pathlib import Path
        >>> from tempfile import TemporaryDirectory
        >>> from tieless.study import EpochRecord, Result, Trial, export_runs
        >>> trial = Trial(data="digits", model="mlp", forward="relu", backward="tied", optimiser="sgd", learning_rate=0.1, batch=64,
        ...               epochs=2, seed=0)
        >>> epochs = EpochRecord(0.6, 0.8, 0.7, 0.75, 1.0), EpochRecord(0.3, 0.9, 0.4, 0.86, 1.0)
        >>> results = [Result(trial=trial, status="done", epochs=epochs)]
        >>> with TemporaryDirectory() as folder:
        ...     export_runs(results, Path(folder), "tensorboard", "tieless")
        1
    """
    folder = Path(folder).absolute()
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    write = _WRITERS[tracker]
    try:
        if folder.exists() and any(folder.iterdir()):
            raise StudyError(f"{folder} has files already, and a tracker would show both: name a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
        write(results, folder, project)
    except OSError as error:
        raise StudyError(f"Cannot write {folder}: {error.strerror}. Choose another folder.") from error
    return len(results)


def _name(result: Result) -> str:
    trial = result.trial
    return f"{trial.forward}, {trial.backward_pass}, seed {trial.seed}"


def _settings(result: Result) -> dict[str, Any]:
    settings = {name: value for name, value in result.trial.to_dict().items() if value not in (None, "")}
    return {**settings, **{f"version_{name}": value for name, value in result.versions.items()}}


def _epochs(result: Result) -> Iterator[tuple[int, float, dict[str, float]]]:
    """Number of each epoch, the time of its end in seconds since 1970, and its figures."""
    at = datetime.fromisoformat(result.started).timestamp() if result.started else 0.0
    for number, record in enumerate(result.epochs, start=1):
        at += record.seconds if math.isfinite(record.seconds) else 0.0
        yield number, at, _figures(record)


def _figures(record: EpochRecord) -> dict[str, float]:
    named = {name: getattr(record, name) for name in record.__slots__}
    return {name: value for name, value in named.items() if value is not None and math.isfinite(value)}


def _final(result: Result) -> dict[str, float]:
    found = outcome(result)
    return {} if found is None else {f"final_{result.trial.metric}": found}


def _tensorboard(results: Sequence[Result], folder: Path, project: str) -> None:
    with try_import("tensorboard") as extra:
        board: Any = importlib.import_module("torch.utils.tensorboard")
        summary: Any = importlib.import_module("torch.utils.tensorboard.summary")
    extra.check()
    for result in results:
        writer = board.SummaryWriter(str(folder / project.replace("/", "-") / result.trial.id))  # pyright: ignore[reportPossiblyUnboundVariable]
        # As one run: SummaryWriter.add_hparams would make another beside it.
        settings = {
            name: value if isinstance(value, (int, float)) else str(value) for name, value in _settings(result).items()
        }
        for part in summary.hparams(settings, _final(result)):  # pyright: ignore[reportPossiblyUnboundVariable]
            writer.file_writer.add_summary(part)
        for number, at, figures in _epochs(result):
            for name, value in figures.items():
                writer.add_scalar(name, value, number, walltime=at)
        for name, value in _final(result).items():
            writer.add_scalar(name, value, len(result.epochs))
        writer.add_text("result", f"{_name(result)}: {result.error or result.status}")
        writer.close()


def _mlflow(results: Sequence[Result], folder: Path, project: str) -> None:
    with try_import("mlflow") as extra:
        mlflow: Any = importlib.import_module("mlflow")
        entities: Any = importlib.import_module("mlflow.entities")
    extra.check()
    client = mlflow.MlflowClient(tracking_uri=folder.as_uri())  # pyright: ignore[reportPossiblyUnboundVariable]
    experiment = client.create_experiment(project)
    for result in results:
        points = list(_epochs(result))
        began = 1000 * datetime.fromisoformat(result.started).timestamp() if result.started else 0.0
        tags = {"mlflow.runName": _name(result), "tieless.id": result.trial.id, "tieless.status": result.status}
        run = client.create_run(experiment, start_time=int(began), tags=tags).info.run_id
        metrics = [
            entities.Metric(name, value, int(1000 * at), number)  # pyright: ignore[reportPossiblyUnboundVariable]
            for number, at, figures in points
            for name, value in figures.items()
        ]
        ended = int(began + 1000 * result.seconds)
        metrics += [entities.Metric(name, value, ended, len(points)) for name, value in _final(result).items()]  # pyright: ignore[reportPossiblyUnboundVariable]
        params = [entities.Param(name, str(value)) for name, value in _settings(result).items()]  # pyright: ignore[reportPossiblyUnboundVariable]
        client.log_batch(run, params=params)
        # The limit of one call.
        for start in range(0, len(metrics), 1000):
            client.log_batch(run, metrics=metrics[start : start + 1000])
        client.set_terminated(run, "FAILED" if result.status == "failed" else "FINISHED", end_time=ended)


def _wandb(results: Sequence[Result], folder: Path, project: str) -> None:
    with try_import("wandb") as extra:
        wandb: Any = importlib.import_module("wandb")
    extra.check()
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True, disable_git=True)  # pyright: ignore[reportPossiblyUnboundVariable]
    for result in results:
        run = wandb.init(  # pyright: ignore[reportPossiblyUnboundVariable]
            mode="offline",
            dir=str(folder),
            project=project.replace("/", "-"),
            id=result.trial.id,
            name=_name(result),
            config=_settings(result),
            settings=settings,
        )
        for number, at, figures in _epochs(result):
            run.log({**figures, "_timestamp": at}, step=number)
        run.summary.update({**_final(result), "status": result.status})
        run.finish(exit_code=int(result.status == "failed"))


_WRITERS: Mapping[Tracker, Callable[[Sequence[Result], Path, str], None]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
