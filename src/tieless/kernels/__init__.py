"""Arithmetic only. ``reference`` is the meaning of every operation; the others may only be faster.

All modules offer the same functions on plain tensors, with the same signatures. Elements are counted in logical
(row-major) order whatever the layout, and a result is laid out as ``torch.empty_like`` lays out its first tensor.
"""

from __future__ import annotations
