"""From a trained network of Heaviside and sign units to one that runs in bits, without PyTorch. Needs ``tieless[deploy]``."""
# ruff: noqa: E402, F401
# pyright: reportUnusedImport=false
# A missing package must be reported in one line, before anything below needs it.

from __future__ import annotations

from tieless._imports import try_import

with try_import("deploy") as _deploy_extra:
    import onnx as _onnx
    import tieless_runtime as _runtime
_deploy_extra.check()

from tieless.deploy.c import CProgram, to_c
from tieless.deploy.explained import ExplainedLayer, ExplainedNetwork
from tieless.deploy.onnx import to_onnx
from tieless.deploy.pack import Ends, Packed, pack

__all__ = ["CProgram", "Ends", "ExplainedLayer", "ExplainedNetwork", "Packed", "pack", "to_c", "to_onnx"]
