"""Every exception that tieless raises on purpose, as one tree.

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
    """Anything that tieless refuses, so that one ``except`` catches it all."""


class SpecError(TielessError, ValueError):
    """A spec such as ``"rectangular(-1, 1)"`` cannot be read, or names what does not exist."""


class RuleValueError(TielessError, ValueError):
    """A parameter has a value outside its domain."""


class RuleTypeError(TielessError, TypeError):
    """A parameter or an argument has the wrong type."""


class UntrainableError(TielessError, ValueError):
    """A forward without a useful derivative was tied to it."""


class SecondDerivativeError(TielessError, RuntimeError):
    """A derivative was asked for of what a rule sends that is not linear in the feedback."""


class TransformError(TielessError, RuntimeError):
    """A function transform was asked for that ``untie`` does not go through."""


class KernelError(TielessError, RuntimeError):
    """No kernel accepts the tensors given, or the one asked for does not."""


class RuleCheckError(TielessError, AssertionError):
    """A rule lacks a property that ``tieless.testing.check_rule`` looks for; the message has a line for each.

    Attributes:
        report: Every property that was looked for, as a ``tieless.testing.RuleReport``.
    """

    report: object = None


class DataError(TielessError, RuntimeError):
    """A data set is missing, truncated or not the published one."""


class ConversionError(TielessError, ValueError):
    """A model cannot be converted or reverted, or the layers that were named are not there."""


class StudyError(TielessError, ValueError):
    """A study cannot be read, found, or run as it is written."""


class LostResultError(StudyError):
    """A run of a study has ended, and its result could not be stored: the study ends too."""


class MissingExtraError(TielessError, ImportError):
    """An optional package is needed and not installed."""


class UnreachedWarning(UserWarning):
    """A conversion has met activations that it could not reach: they are as they were, and the message names them."""


class SharedWarning(UserWarning):
    """A conversion has changed modules that another model uses too: there they are changed as well."""
