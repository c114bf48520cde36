"""Studies: grids of trials from YAML files, run without loss of finished results, stored in one SQLite file."""
# ruff: noqa: E402, F401
# pyright: reportUnusedImport=false
# A missing package must be reported in one line, before anything below needs it.

from __future__ import annotations

from tieless._imports import renamed, try_import

with try_import("study") as _study_extra:
    import filelock as _filelock
    import msgspec as _msgspec
    import pydantic as _pydantic
    import yaml as _yaml
_study_extra.check()

from tieless.study.choose import Choice, Choose, Tried, choices
from tieless.study.claims import Claim, parse_claim
from tieless.study.file.library import load_study, shipped
from tieless.study.file.reading import parse_study
from tieless.study.judging.comparison import Arm, ClaimCell
from tieless.study.judging.foresight import Foresight, foresee
from tieless.study.judging.statistics import Differences, Excess, Mean, power, seeds_needed
from tieless.study.judging.verdicts import ClaimVerdict, judge
from tieless.study.results.export import alignment_rows, epoch_rows, export_table, trial_rows
from tieless.study.results.store import Store
from tieless.study.results.tables import load_table
from tieless.study.results.trackers import export_runs
from tieless.study.running.cluster import DaskPool
from tieless.study.running.events import Epoch, Event, Finished, Notice, Retried, Started, Summary, Waiting
from tieless.study.running.pool import Pool
from tieless.study.running.runner import run
from tieless.study.settings.losses import register_loss
from tieless.study.settings.metrics import register_metric
from tieless.study.study import Batch, Study
from tieless.study.trial import EpochRecord, Result, Trial

__all__ = [
    "Arm",
    "Batch",
    "Choice",
    "Choose",
    "Claim",
    "ClaimCell",
    "ClaimVerdict",
    "DaskPool",
    "Differences",
    "Epoch",
    "EpochRecord",
    "Event",
    "Excess",
    "Finished",
    "Foresight",
    "Mean",
    "Notice",
    "Pool",
    "Result",
    "Retried",
    "Started",
    "Store",
    "Study",
    "Summary",
    "Trial",
    "Tried",
    "Waiting",
    "alignment_rows",
    "choices",
    "epoch_rows",
    "export_runs",
    "export_table",
    "foresee",
    "judge",
    "load_study",
    "load_table",
    "parse_claim",
    "parse_study",
    "power",
    "register_loss",
    "register_metric",
    "run",
    "seeds_needed",
    "shipped",
    "trial_rows",
]

__getattr__ = renamed(
    __name__, {"holm": "tieless.study.judge shares one level among all that it judges."}, Cell="ClaimCell"
)
