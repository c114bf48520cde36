"""freegrad 1.0 on our operation: a program written for it runs with only its import changed.

::

    import tieless.compat.freegrad as fg                      # was: import freegrad as fg
    from tieless.compat.freegrad.wrappers import Activation   # was: from freegrad.wrappers import Activation

The modules are freegrad's: ``registry``, ``context``, ``wrappers``, ``functional``, ``hook`` and ``transforms``. What
differs, and why, is in ``docs/migration/freegrad.md``.
"""

from __future__ import annotations

from tieless.compat.freegrad import transforms
from tieless.compat.freegrad.context import use
from tieless.compat.freegrad.registry import compose, get, register
from tieless.compat.freegrad.wrappers import Activation

__version__ = "1.0.1"
"""Version of freegrad whose names these are."""

__all__ = ["Activation", "compose", "get", "register", "transforms", "use"]
