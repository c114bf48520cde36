"""Look into a model while it runs: hooks in, frozen records out, and the model as it was."""

from __future__ import annotations

from tieless.diagnose.checkup import Checkup, checkup
from tieless.diagnose.explain import explain
from tieless.diagnose.explanation import Explanation
from tieless.diagnose.health import Finding, LayerHealth
from tieless.diagnose.records import ActivationRun, ExplainedActivation, ModelRun

__all__ = [
    "ActivationRun",
    "Checkup",
    "ExplainedActivation",
    "Explanation",
    "Finding",
    "LayerHealth",
    "ModelRun",
    "checkup",
    "explain",
]
