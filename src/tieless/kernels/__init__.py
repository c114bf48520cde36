"""Kernels: arithmetic only. ``reference`` defines every operation; the other modules may only be faster.

All kernel modules offer the same functions on plain tensors, with the same signatures. Elements are counted in logical
(row-major) order whatever the layout, and a result is laid out as ``torch.empty_like`` lays out its first tensor.
"""

from __future__ import annotations
