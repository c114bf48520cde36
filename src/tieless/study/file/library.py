"""Studies that ship with the package or lie in a file, and the check that their data are available."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch

from tieless._yaml import Document, read_document
from tieless.data import Dataset, is_available, load, locate
from tieless.errors import DataError, RuleTypeError, RuleValueError, StudyError
from tieless.grammar import parse_call
from tieless.registry import unknown
from tieless.study.file.reading import parse_study
from tieless.study.network import check_fit, check_measures, check_targets, network_of
from tieless.study.settings.augmentations import augmentations, augmented
from tieless.study.settings.optimisers import OPTIMISERS
from tieless.study.study import SHIPPED, Study
from tieless.study.trial import Trial

_SHIPPED = Path(__file__).parents[2] / "studies"


def shipped() -> list[str]:
    """Names of the studies that ship with the package, as ``load_study`` takes them.

    Example:
        >>> from tieless.study import shipped
        >>> "paper/lenet5-jamming" in shipped()
        True
    """
    return sorted(file.relative_to(_SHIPPED).with_suffix("").as_posix() for file in _SHIPPED.rglob("*.yaml"))


def _find(name_or_file: str) -> tuple[str, Path]:
    file = Path(name_or_file)
    if file.suffix in (".yaml", ".yml"):
        return file.stem, file
    if name_or_file in shipped():
        return name_or_file, _SHIPPED / f"{name_or_file}.yaml"
    raise StudyError(f"{unknown('study', name_or_file, shipped())} The name of a file ends in .yaml.")


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise StudyError(f"Cannot read {file}: {error.strerror}.") from error
    except UnicodeDecodeError:
        raise StudyError(f"Cannot read {file}: it is not UTF-8 text.") from None


def _missing_data(study: Study) -> str | None:
    """Reason why data are unavailable on this machine; ``None`` if they are available."""
    for spec in dict.fromkeys(trial.data for trial in study.trials):
        if not is_available(spec) and locate(spec) is None:
            # By its name alone: parentheses would be the shell's.
            return f"{spec} is not on this machine: get it with 'tieless data get {parse_call(spec).name}'."
    return None


def _check_device(device: str) -> None:
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:
        raise StudyError(f"The device {device} cannot be used here: {str(error).splitlines()[0]}") from None


def _check(study: Study, document: Document) -> None:
    """Raise the error of every trial, if there is one: unsound data, too large a subset, an unsuitable model or device.

    A trial too large for this machine's memory is passed over: it fails by itself, and the others run.
    """
    at = partial(_at, document, study.overrides)
    for device in dict.fromkeys(trial.device for trial in study.trials):
        with at("device"):
            _check_device(device)
    networks = {
        (t.data, t.subset, t.augment, t.model, t.init, t.weights, t.feedback, t.optimiser, t.loss, t.metric): t
        for t in study.trials
    }
    measures = {(t.data, t.loss, t.metric): t for t in study.trials}
    once = cache(partial(load, seed=0))
    for trial in measures.values():
        with _memory_left_to_the_trial():
            with at("data"):
                data = once(trial.data, subset=None)
            for field in ("loss", "metric"):
                with at(field):
                    check_targets(trial, data, field)
    for trial in networks.values():
        with _memory_left_to_the_trial():
            with at("data" if trial.subset is None else "subset"):
                data = once(trial.data, subset=trial.subset)
            _check_network(trial, data, at)


def _check_network(trial: Trial, data: Dataset, at: Callable[[str], AbstractContextManager[None]]) -> None:
    with at("augment"):
        augmented(data.train_x[:1], augmentations(trial.augment), torch.Generator())
    model, made = None, replace(trial, device="cpu", init="default", weights="float", feedback="tied")
    for field in ("model", "init", "weights", "feedback"):
        if model is None or getattr(made, field) != getattr(trial, field):
            made = made if model is None else replace(made, **{field: getattr(trial, field)})
            with at(field), torch.random.fork_rng(devices=[]):
                model = network_of(made, data)
    assert model is not None
    with at("optimiser"):
        OPTIMISERS.read(trial.optimiser).check_model(model)
    with at("model"):
        check_fit(trial.model, model, data)
    for field in ("loss", "metric"):
        with at(field):
            check_measures(trial, model, data, field)


@contextlib.contextmanager
def _at(document: Document, overrides: Sequence[str], field: str) -> Generator[None]:
    """A refusal is told where in the file, or with which option, the field was given."""
    try:
        yield
    except (RuleValueError, RuleTypeError, StudyError) as error:
        if any(one.partition("=")[0].rpartition(".")[2] == field for one in overrides):
            raise StudyError(f"--set {field}: {error}") from None
        paths = [path for path in document.lines if path[-1:] == (field,) and path[0] in {"grid", "blocks"}]
        raise document.error(paths[0] if paths else ("grid", field), str(error)) from None


@contextlib.contextmanager
def _memory_left_to_the_trial() -> Generator[None]:
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError):
        pass
    except RuntimeError as error:
        # PyTorch has no class of its own for the memory of the CPU.
        if "can't allocate memory" not in str(error):
            raise


def load_study(
    name_or_file: str | os.PathLike[str],
    overrides: Sequence[str] = (),
    *,
    imports: Sequence[str] = (),
    check: bool = True,
) -> Study:
    """Read a study, and check that it can run here.

    If a data set is unavailable and the study declares a ``fallback``, the fallback is used and ``Study.fallback``
    gives the reason.

    Args:
        name_or_file: Name from ``shipped()``, or path of a YAML file.
        overrides: Texts ``key=value``, the value in YAML.
        imports: Modules of your own to import first: paths that end in ``.py``, or dotted names. A file that names code
            in its ``imports`` is refused unless it is named here too.
        check: True to check that the study can run here; False to read it as written.
    Raises:
        StudyError: there is no such study, its file or an override is not valid, a model does not fit the data or cannot
            read them, or a subset is larger than they are.
        DataError: a data set is unavailable and there is no fallback, or it is not the published one.
    Example:
        >>> load_study("paper/suc-ones", ["seeds=[0]", "epochs=1"]).table
        'Study 1'
    """
    named = os.fspath(name_or_file)
    name, file = _find(named)
    text = _text(file)
    path = None if file.is_relative_to(_SHIPPED) else named
    source = SHIPPED if path is None else str(file.resolve())

    def parse(fallback: str | None = None) -> Study:
        study = parse_study(text, name=name, file=path, overrides=overrides, fallback=fallback, imports=imports)
        return replace(study, source=source)

    study = parse()
    if not check:
        return study
    missing = _missing_data(study)
    if missing is not None:
        study = parse(missing)
        missing = _missing_data(study)
    if missing is not None:
        raise DataError(missing)
    _check(study, read_document(text, path or f"{name}.yaml"))
    return study
