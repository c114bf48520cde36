"""Look into a model while it runs: hooks in, frozen records out, and the model as it was."""

from __future__ import annotations

from tieless.diagnose.agreement import Agreement, Alignment, Comparison
from tieless.diagnose.align import alignment
from tieless.diagnose.checkup import Checkup, checkup
from tieless.diagnose.descend import Descent, DescentStep, descent
from tieless.diagnose.expected import expected_cosine
from tieless.diagnose.explain import explain
from tieless.diagnose.explanation import Explanation
from tieless.diagnose.health import Finding, LayerHealth
from tieless.diagnose.logs import CsvLog, TensorBoardLog
from tieless.diagnose.monitor import AlignmentLog, AlignmentMonitor, AlignmentRow, Measurement
from tieless.diagnose.profile import SlopeProfile, slope_profiles
from tieless.diagnose.records import ActivationRun, ExplainedActivation, ModelRun
from tieless.diagnose.slope_bounds import Bounds, SlopeBound, bounds, kantorovich_bound

__all__ = [
    "ActivationRun",
    "Agreement",
    "Alignment",
    "AlignmentLog",
    "AlignmentMonitor",
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
