"""Exceptions that tieless raises on purpose, as one tree.

::

    TielessError
    ├── SpecError (ValueError)               a spec string that the grammar or a registry does not accept
    ├── RuleValueError (ValueError)          a parameter out of range
    ├── RuleTypeError (TypeError)            a parameter or argument of the wrong type
    ├── UntrainableError (ValueError)        a flat forward joined with the rule that needs its slope
    ├── SecondDerivativeError (RuntimeError) a derivative was asked for of a gradient that has none
    ├── TransformError (RuntimeError)        a function transform that untie does not go through
    ├── KernelError (RuntimeError)           no kernel accepts these tensors
    ├── RuleCheckError (AssertionError)      a rule lacks a property that tieless.testing checks
    ├── DataError (RuntimeError)             a data set is missing, truncated or altered
    ├── ConversionError (ValueError)         a model that cannot be converted, or not as it was asked for
    ├── DeployError (ValueError)             a model that cannot be packed, or not as it was asked for
    ├── StudyError (ValueError)              a study that cannot be read, found or run as written
    │   └── LostResultError                  a run has ended, and its result could not be stored
    └── MissingExtraError (ImportError)      an optional package is not installed

    UnreachedWarning (UserWarning)           activations that a conversion has met and could not reach
    SharedWarning (UserWarning)              a conversion has changed modules that another model uses too

Each message says what was given, what was expected and what to do next, and most fit on one line: the
command line prints them as they are.
"""

from __future__ import annotations

__all__ = [
    "ConversionError",
    "DataError",
    "DeployError",
    "KernelError",
    "LostResultError",
    "MissingExtraError",
    "RuleCheckError",
    "RuleTypeError",
    "RuleValueError",
    "SecondDerivativeError",
    "SharedWarning",
    "SpecError",
    "StudyError",
    "TielessError",
    "TransformError",
    "UnreachedWarning",
    "UntrainableError",
]


class TielessError(Exception):
    """Base of all errors of tieless, so that one ``except`` catches them all."""


class SpecError(TielessError, ValueError):
    """Spec such as ``"rectangular(-1, 1)"`` that cannot be read, or names something that does not exist."""


class RuleValueError(TielessError, ValueError):
    """Parameter with a value outside its domain."""


class DimensionError(RuleValueError, IndexError):
    """Dimension that a tensor does not have, as PyTorch's ``IndexError`` says of its own functions."""


class RuleTypeError(TielessError, TypeError):
    """Parameter or argument of the wrong type."""


class UntrainableError(TielessError, ValueError):
    """Forward without a useful derivative, joined with the rule ``tied``, which needs it."""


class SecondDerivativeError(TielessError, RuntimeError):
    """Derivative of a gradient that has none: a rule that is not linear in the incoming gradient sent it."""


class TransformError(TielessError, RuntimeError):
    """Function transform that ``untie`` does not support."""


class KernelError(TielessError, RuntimeError):
    """Tensors that no kernel accepts, or that the requested kernel does not accept."""


class RuleCheckError(TielessError, AssertionError):
    """Rule that lacks a property which ``tieless.testing.check_rule`` tests; the message has a line for each.

    Attributes:
        report: Report of every property that was tested, a ``tieless.testing.RuleReport``.
    """

    report: object = None


class DataError(TielessError, RuntimeError):
    """Data set that is missing, truncated or not the published one."""


class ConversionError(TielessError, ValueError):
    """Model that cannot be converted or reverted, or layers that were named and do not exist."""


class DeployError(TielessError, ValueError):
    """Model that cannot be packed, or not as it was asked for."""


class StudyError(TielessError, ValueError):
    """Study that cannot be read, found, or run as it is written."""


class LostResultError(StudyError):
    """Result that could not be stored when a run of a study had ended: the study ends too."""


class MissingExtraError(TielessError, ImportError):
    """Optional package that is needed and not installed."""


class UnreachedWarning(UserWarning):
    """Activations that a conversion met and could not reach: they are unchanged, and the message names them."""


class SharedWarning(UserWarning):
    """Modules that a conversion changed and that another model uses too: they are changed there as well."""
