"""Reader of study files: from YAML to a question and the trials that answer it.

A study file has a header, a ``grid`` and, where one product is not enough, ``blocks`` laid over it::

    title: Jamming LeNet-5
    question: Does a random slope impair learning?
    table: Tables 6 to 8                  # of the paper; left out where there is none
    core_hours: 12                        # of the whole grid
    grid:                                 # names of Trial's fields; a list makes an axis
      data: fashion-mnist
      model: lenet5
      forward: [relu, logistic]
      backward: [tied, full_jam]
      batch: 64
      epochs: 5
      seeds: [0, 1, 2]                    # each seed repeats every cell
    blocks:                               # each is the grid with some values replaced
      sgd: {optimiser: sgd, learning_rate: [0.01, 0.1]}
      adam: {optimiser: adam, learning_rate: 1e-3}
    exclude:                              # drops the cells that match; one that matches none is an error
      - {forward: logistic, optimiser: sgd, learning_rate: 0.01}
    fallback: {data: digits, model: mlp}  # instead, where the data cannot be had; said and recorded
    choose: {validation: 0.1, seeds: [100, 101, 102]}  # each cell gets one of its rates, chosen on held out samples
    claims:                               # what the study is to settle; each must match a cell
      - full_jam is non-inferior to tied by 1 point for relu at the chosen rate
    checkpoint: epochs                    # an interrupted trial goes on from its last epoch; no number depends on it
    imports: [mynet.py]                   # code that it needs: it runs only if the user names it too, with --import

Overrides: ``epochs=1`` holds everywhere, ``adam.epochs=1`` in one block, ``blocks=[adam]`` picks blocks.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import cast

from tieless import own
from tieless._yaml import Document, Path, read_document
from tieless.errors import StudyError, UntrainableError
from tieless.study.choose import Choose, pilots
from tieless.study.file.grid import REQUIRED, Settings, drop, expand
from tieless.study.file.overrides import Overrides, parse_overrides
from tieless.study.file.schema import StudyModel, validate
from tieless.study.judging.pairing import cells_of, has_cells
from tieless.study.settings import spelling
from tieless.study.sources import Imports
from tieless.study.study import Study
from tieless.study.trial import Trial


def _check_trainable(trials: Sequence[Trial], name: str) -> None:
    for pair in dict.fromkeys((trial.forward, trial.backward) for trial in trials):
        with _naming_the_cell(name, *pair):
            spelling.check_pair(*pair)


@contextlib.contextmanager
def _naming_the_cell(name: str, forward: str, backward: str) -> Generator[None]:
    try:
        yield
    except UntrainableError as error:
        cell = f"{{forward: {forward}, backward: {backward}}}"
        raise StudyError(f"{name}: the cell {cell} cannot train: {error} Or drop it: exclude: [{cell}]") from None


def parse_study(
    text: str,
    *,
    name: str,
    file: str | None = None,
    overrides: Sequence[str] = (),
    fallback: str | None = None,
    imports: Sequence[str] = (),
) -> Study:
    """Read a study file.

    Args:
        text: Text in YAML.
        name: Name of the study.
        file: Path of the file, if the study did not ship with the package.
        overrides: Texts ``key=value``, the value in YAML.
        fallback: Reason for using the file's ``fallback``; ``None`` uses the file's own data.
    Raises:
        StudyError: the file or an override is not valid. The message gives the place, the expected value and the given
            one in one line.
    Example:
        >>> study = parse_study('''
        ... title: Hidden layers
        ... question: Do they have to learn?
        ... core_hours: 0.1
        ... grid: {data: digits, model: mlp, forward: relu, backward: [tied, frozen], optimiser: sgd,
        ...        learning_rate: 0.1, batch: 32, epochs: 2, seeds: [0, 1]}
        ... ''', name="hidden-layers", overrides=["epochs=1"])
        >>> [(trial.backward, trial.epochs, trial.seed) for trial in study.trials]
        [('tied', 1, 0), ('frozen', 1, 0), ('tied', 1, 1), ('frozen', 1, 1)]
    """
    source = file or f"{name}.yaml"
    document = read_document(text, source)
    _check_allowed(document, imports)
    named = Imports.of(imports)
    model = validate(StudyModel, document)
    _check_as_written(model, document)
    settings = _resolve(model, parse_overrides(overrides, model.blocks), use_fallback=fallback is not None)
    settings = replace(settings, imports=named)
    trials = settings.trials()
    if not trials:
        raise StudyError(f"{source}: nothing is left to run, exclude drops every cell.")
    _check_trainable(trials, source)
    choose = _choose(model, document, trials)
    asked = [claim.claim() for claim in model.claims]
    claims = tuple(claim for claim in asked if has_cells(claim, trials, chooses=choose is not None))
    return Study(
        name=name,
        run_as=file or name,
        title=" ".join(model.title.split()),
        question=" ".join(model.question.split()),
        table=model.table,
        core_hours=model.core_hours,
        settings=settings.to_dict(),
        overrides=tuple(overrides),
        fallback=fallback,
        claims=claims,
        emptied=tuple(str(claim) for claim in asked if claim not in claims),
        choose=choose,
        trials=tuple(pilots(trials, choose) if choose else trials),
        asked=tuple(trials) if choose else (),
        imports=tuple(code.name for code in named.named),
        code=settings.all_imports.to_send,
        checkpoint=model.checkpoint,
    )


def _check_allowed(document: Document, imports: Sequence[str]) -> None:
    """Refuse code that the file names and the user does not."""
    given = document.value.get("imports", [])
    for name in cast("list[object]", given) if isinstance(given, list) else [given]:
        if isinstance(name, str) and not any(own.same(name, one) for one in imports):
            problem = f"{name} is code, which a file cannot allow to run. If you trust it: --import {shlex.quote(name)}"
            raise document.error(("imports",), problem)


def _written(model: StudyModel) -> Settings:
    blocks = {name: block.given() for name, block in model.blocks.items()}
    return Settings(model.grid.given(), blocks, tuple(pattern.given() for pattern in model.exclude))


def _check_as_written(model: StudyModel, document: Document) -> None:
    """Check that every block is complete and that every exclude drops something; otherwise it is a slip of the pen."""
    written = _written(model)
    for block, axes in written.merged().items():
        if lacks := [name for name in REQUIRED if name not in axes]:
            path = ("blocks", block) if written.blocks else ("grid",)
            raise document.error(path, f"{lacks[0]} is missing")
    cells = expand(written.merged().values())
    for i, pattern in enumerate(written.exclude):
        if not pattern or drop(cells, [pattern]) == cells:
            raise document.error(("exclude", i), "matches no cell of the grid")
    left = drop(cells, written.exclude)
    if model.choose is not None and model.choose.confirm:
        fewest = min(trial.epochs for trial in left)
        if model.choose.epochs is None or model.choose.epochs >= fewest:
            problem = f"takes choose.epochs below the grid's {fewest}: what chose at full length needs no confirmation"
            raise document.error(("choose", "confirm"), problem)
    for i, claim in enumerate(model.claims):
        with _at(document, ("claims", i)):
            cells_of(claim.claim(), left, chooses=model.choose is not None)


@contextlib.contextmanager
def _at(document: Document, path: Path) -> Generator[None]:
    """Give the place in the file to an error that lacks one."""
    try:
        yield
    except StudyError as error:
        raise document.error(path, str(error).rstrip(".")) from None


def _choose(model: StudyModel, document: Document, trials: Sequence[Trial]) -> Choose | None:
    if model.choose is None:
        return None
    shorter = model.choose.epochs is not None and model.choose.epochs < trials[0].epochs
    # Where overrides leave no shorter runs, those that choose have the full length already.
    confirm = model.choose.confirm and shorter
    low_high = None if model.choose.extend is None else (model.choose.extend[0], model.choose.extend[1])
    choose = Choose(model.choose.validation, tuple(model.choose.seeds), model.choose.epochs, confirm, low_high)
    if choose.epochs is not None and len(lengths := sorted({trial.epochs for trial in trials})) > 1:
        problem = (
            f"the grid has {lengths[0]} epochs and {lengths[-1]}; runs of one length can choose for one length only"
        )
        raise document.error(("choose", "epochs"), problem)
    if shared := sorted({trial.seed for trial in trials} & set(choose.seeds)):
        problem = (
            f"{shared[0]} is a seed of the grid too; runs that choose must not share one with those that are judged"
        )
        raise document.error(("choose", "seeds"), problem)
    return choose


def _resolve(model: StudyModel, overrides: Overrides, *, use_fallback: bool) -> Settings:
    written = _written(model)
    fallback = model.fallback.given() if model.fallback and use_fallback else {}
    everywhere = {**fallback, **overrides.everywhere}
    picked = written.blocks if overrides.blocks is None else overrides.blocks
    blocks = {
        block: {
            **{name: values for name, values in written.blocks[block].items() if name not in everywhere},
            **overrides.within.get(block, {}),
        }
        for block in picked
    }
    changed = Settings({**written.grid, **everywhere}, blocks, ())
    cells = changed.trials() if written.exclude else []
    # An exclude that nothing is left for would be an error in the file that Study.yaml writes.
    return replace(changed, exclude=tuple(p for p in written.exclude if drop(cells, [p]) != cells))
