"""Studies: a grid of trials from a YAML file, run so that nothing finished is lost, kept in one SQLite file."""
# ruff: noqa: E402, F401
# pyright: reportUnusedImport=false
# What is missing must be said in one line, before anything below needs it.

from __future__ import annotations

from tieless._imports import try_import

with try_import("study") as _study_extra:
    import filelock as _filelock
    import pydantic as _pydantic
    import yaml as _yaml
_study_extra.check()

from tieless.study.export import alignment_rows, epoch_rows, export_table, trial_rows
from tieless.study.library import load_study, shipped
from tieless.study.runner import Epoch, Event, Finished, Retried, Started, Summary, run
from tieless.study.spec import Study, parse_study
from tieless.study.store import Store
from tieless.study.trial import EpochRecord, Result, Trial

__all__ = [
    "Epoch",
    "EpochRecord",
    "Event",
    "Finished",
    "Result",
    "Retried",
    "Started",
    "Store",
    "Study",
    "Summary",
    "Trial",
    "alignment_rows",
    "epoch_rows",
    "export_table",
    "load_study",
    "parse_study",
    "run",
    "shipped",
    "trial_rows",
]
