"""Diagnoses of a model while it runs: hooks measure, frozen records hold the results, and the model stays as it was."""

from __future__ import annotations

from tieless._imports import renamed
from tieless.diagnose.explaining.explain import Explanation, explain
from tieless.diagnose.explaining.records import ActivationRun, ExplainedActivation, ModelRun
from tieless.diagnose.gradients.alignment import alignment
from tieless.diagnose.gradients.bounds import Bounds, SlopeBound, bounds, kantorovich_bound
from tieless.diagnose.gradients.descent import Descent, DescentStep, descent
from tieless.diagnose.gradients.expected import expected_cosine
from tieless.diagnose.gradients.logs import CsvLog, TensorBoardLog
from tieless.diagnose.gradients.monitor import AlignmentLog, AlignmentMonitor, AlignmentRow, Measurement
from tieless.diagnose.gradients.records import Agreement, AlignmentReport, Comparison
from tieless.diagnose.health.checkup import Checkup, checkup
from tieless.diagnose.health.records import Finding, LayerHealth
from tieless.diagnose.slopes.profile import SlopeProfile, slope_profiles

__all__ = [
    "ActivationRun",
    "Agreement",
    "AlignmentLog",
    "AlignmentMonitor",
    "AlignmentReport",
    "AlignmentRow",
    "Bounds",
    "Checkup",
    "Comparison",
    "CsvLog",
    "Descent",
    "DescentStep",
    "ExplainedActivation",
    "Explanation",
    "Finding",
    "LayerHealth",
    "Measurement",
    "ModelRun",
    "SlopeBound",
    "SlopeProfile",
    "TensorBoardLog",
    "alignment",
    "bounds",
    "checkup",
    "descent",
    "expected_cosine",
    "explain",
    "kantorovich_bound",
    "slope_profiles",
]

__getattr__ = renamed(__name__, Alignment="AlignmentReport")
