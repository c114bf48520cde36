"""Subject of ``tieless diagnose``: a network by its spec, with random weights or a file of them, or a study's trial."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import torch
from torch import Tensor, nn

from tieless._files import is_file
from tieless.data import Dataset, load
from tieless.diagnose import AlignmentRow
from tieless.diagnose.gradients.bounds import default_loss
from tieless.diagnose.watching.passes import Loss
from tieless.study import Store
from tieless.study.network import check_fit, fitting, start_of
from tieless.study.results.store import FILE
from tieless.study.settings.losses import LOSSES


@dataclass(frozen=True, slots=True)
class Subject:
    """Network, with the data and the loss for its diagnosis.

    Args:
        network: Network to diagnose.
        data: Data set from which batches are taken.
        loss: Function ``loss(outputs, labels)``, a scalar.
        about: Description, one line.
        measured: Measurements of a monitor during its training, if it had one.
    """

    network: nn.Module
    data: Dataset
    loss: Loss
    about: str
    measured: tuple[AlignmentRow, ...] = ()

    def batches(self, size: int, count: int) -> list[tuple[Tensor, Tensor]]:
        """First training samples, as batches of one size; fewer if there are not enough."""
        x, labels = self.data.train_x, self.data.train_y
        size = min(size, len(labels))
        count = max(1, min(count, len(labels) // size))
        return [(x[i * size : (i + 1) * size], labels[i * size : (i + 1) * size]) for i in range(count)]


def is_study(target: str) -> bool:
    """True if a path is the folder of a study."""
    return is_file(Path(target) / FILE)


def of_spec(spec: str, forward: str, backward: str, data: str, weights: Path | None) -> Subject:
    """Network of the studies, with random weights from seed 0 or those of a file.

    Raises:
        TielessError: a spec cannot be read, or the data are unavailable.
        ClickException: the file holds no state of this network.
    """
    samples = load(data, seed=0)
    torch.manual_seed(0)
    network = fitting(spec, forward, backward, samples)
    check_fit(spec, network, samples)
    if weights is None:
        return Subject(network, samples, default_loss, "Random weights")
    _load(network, spec, weights)
    return Subject(network, samples, default_loss, f"Weights from {weights}")


def _load(network: nn.Module, spec: str, file: Path) -> None:
    """Load a ``state_dict``. The reader makes tensors and containers only; nothing in the file is run."""
    if not is_file(file):
        raise click.ClickException(
            f"There is no file {file}. Write one with torch.save(model.state_dict(), {str(file)!r})."
        )
    try:
        with warnings.catch_warnings():
            # A file that PyTorch warns about because it is not its own ends in an error anyway.
            warnings.simplefilter("ignore", UserWarning)
            state: Any = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a file that is none of PyTorch's can fail in many ways, and all are reported
        # PyTorch's own words advise to run the file.
        raise click.ClickException(
            f"{file} is no file of tensors alone ({type(error).__name__}): write it with torch.save(model.state_dict(), file)."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in cast("dict[str, Any]", state).values()):
        raise click.ClickException(f"{file} holds no state_dict: write it with torch.save(model.state_dict(), file).")
    try:
        network.load_state_dict(cast("dict[str, Tensor]", state))
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]]
        raise click.ClickException(f"{file} has no weights for {spec}: {lines[0] if lines else error}") from error


def of_trial(folder: str, trial: str | None) -> Subject:
    """Trial of a study, at its start, with the measurements of its monitor.

    Raises:
        TielessError: the store cannot be read, or something that the trial names is unavailable.
        ClickException: there is no such trial, or several.
    """
    with Store.open(Path(folder)) as store:
        trials = store.study().trials
        results = {result.trial.id: result for result in store.results()}
    fitting = [one for one in trials if one.id.startswith(trial or "")]
    if len(fitting) != 1:
        what = (
            f"{len(fitting)} trials of {folder} have an id that begins with {trial!r}"
            if trial
            else f"{folder} holds {len(trials)} trials"
        )
        some = ", ".join(one.id for one in (fitting or trials)[:5])
        raise click.ClickException(f"{what}: name one with --trial, such as {some}. 'tieless study export' lists them.")
    (one,) = fitting
    network, data = start_of(one)
    result = results.get(one.id)
    about = f"Trial {one.id} at its start: {one.model}, {one.forward}, {one.backward}, seed {one.seed}"
    return Subject(network, data, LOSSES[one.loss].mean, about, () if result is None else result.alignments)
