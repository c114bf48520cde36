"""Network of a trial before its first update, and the check that it can read the samples of a data set."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from tieless.convert import convert, convert_feedback
from tieless.data import Dataset, load
from tieless.errors import ConversionError, StudyError, TielessError
from tieless.forwards import forward as forward_of
from tieless.grammar import shown
from tieless.models import build_model, model_spec
from tieless.models.spec import WrittenModel
from tieless.nn import activations
from tieless.rules import rule as rule_of
from tieless.study.settings.initial import INITIALS, Circumstances
from tieless.study.settings.losses import LOSSES, kind_of
from tieless.study.settings.metrics import METRICS, check_kind
from tieless.study.settings.spelling import first_rule
from tieless.study.settings.weights import WEIGHTS
from tieless.study.sources import check_data
from tieless.study.trial import Trial

Measure = Literal["loss", "metric"]
_A_FEW = 32
"""Number of samples on which a loss and a metric are tried."""


def start_of(trial: Trial) -> tuple[nn.Module, Dataset]:
    """Network of a trial before its first update, and its data. Seeds PyTorch's generator with the trial's seed.

    Raises:
        DataError, SpecError, RuleValueError: the data are unavailable, or a name is no longer registered.
    """
    check_data(trial)
    torch.manual_seed(trial.seed)
    data = load(trial.data, seed=trial.seed, subset=trial.subset, device=trial.device)
    return network_of(trial, data), data


def network_of(trial: Trial, data: Dataset) -> nn.Module:
    """Network of a trial on its device, with its initial weights and its feedback weights.

    Args:
        trial: Trial whose data set is ``data``.
        data: Data set that gives the network its input shape and number of classes.
    Raises:
        SpecError, RuleValueError: a name is no longer registered, or a model does not fit the shape of the data.
    """
    model = fitting(trial.model, trial.forward, first_rule(trial.backward), data)
    INITIALS.read(trial.init).apply(model, Circumstances(trial.forward, first_rule(trial.backward), data.train_x))
    model.to(trial.device)
    # Convolutions and pooling of small images are a tenth faster so, on a CPU.
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  PyTorch's types lack this form
    WEIGHTS.read(trial.weights).apply(model)
    if trial.feedback != "tied":
        convert_feedback(model, trial.feedback, seed=trial.seed)
    return model


def fitting(spec: str, forward: str, rule: str, data: Dataset) -> nn.Module:
    """Model of a spec, built for the shape of a data set, every activation with its halves.

    A model of the user's own that takes neither half is converted: its activations get them.

    Raises:
        SpecError, RuleTypeError, RuleValueError, UntrainableError: a spec cannot be read, or the model does not fit.
        StudyError: a model of the user's own does not use its halves, so that all rules would give the same numbers.
    """
    features = math.prod(data.train_x.shape[1:])
    return with_halves(build_model(spec, forward, rule, features=features, classes=data.classes), spec, forward, rule)


def with_halves(model: nn.Module, spec: str, forward: str, rule: str) -> nn.Module:
    """Model, after a check that a model of the user's own has the halves of its activations, or can be given them.

    Raises:
        StudyError: it has not, and cannot.
    """
    kind = type(model_spec(spec))
    if not issubclass(kind, WrittenModel):
        return model
    if not kind.takes_halves():
        try:
            return convert(model, backward=rule, forward=forward)
        except ConversionError as error:
            raise StudyError(f"{spec} takes neither forward nor backward, and cannot be converted: {error}") from None
    halves = str(forward_of(forward)), str(rule_of(rule))
    found = dict.fromkeys((str(one.forward_fn), str(one.rule)) for one in activations(model).values())
    if halves not in found:
        there = ", ".join(" with ".join(pair) for pair in found) or "none of tieless"
        raise StudyError(
            f"{spec} has no activation {' with '.join(halves)}, as it is asked for; it has {there}. Pass forward and"
            " backward to tieless.Activation, or take neither: its activations are then converted."
        )
    return model


def check_targets(trial: Trial, data: Dataset, field: Measure) -> None:
    """Check that the loss or the metric of a trial takes the targets of its data.

    Raises:
        StudyError: it does not.
    """
    name = getattr(trial, field)
    check_kind(field, name, (LOSSES if field == "loss" else METRICS)[name].only, data.name, data.train_y)


def check_measures(trial: Trial, model: nn.Module, data: Dataset, field: Measure) -> None:
    """Check that the loss or the metric of a trial gives one number for outputs of its network.

    Args:
        trial: Trial of which to check.
        model: Network of it, on the CPU. It and the random state are left as they were.
        data: Data set of it; a few samples are taken.
        field: Field to check.
    Raises:
        StudyError: it gives something else, or the loss fails. A metric that fails on so few samples need not fail on
            all.
    """
    training, targets = model.training, data.test_y[:_A_FEW]
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        outputs = model.eval()(data.test_x[:_A_FEW])
        model.train(training)
        try:
            if field == "loss":
                LOSSES[trial.loss].mean(outputs, targets)
            else:
                METRICS[trial.metric].of_kind(outputs, targets)
        except TielessError:
            raise
        except Exception as error:  # noqa: BLE001  a loss of the user's own may raise anything
            if field == "loss":
                reason = (str(error).splitlines() or [""])[0]
                raise StudyError(f"The loss {trial.loss} fails: {type(error).__name__}: {reason}") from None


def _check_outputs(spec: str, outputs: object, data: Dataset) -> None:
    """Check that a model gives a score for each class, or, for two classes, one number; or each number to predict."""
    numbers = kind_of(data.train_y) == "numbers"
    expected = [(1, data.classes)] if numbers else [(1, data.classes, *data.train_y.shape[1:])]
    expected += [(1,)] if data.train_y.dim() == 1 and data.classes == (1 if numbers else 2) else []
    shape = tuple(outputs.shape) if isinstance(outputs, torch.Tensor) else None
    if shape not in expected:
        what = f"outputs of shape {shape[1:]}" if shape else shown(outputs)
        if numbers:
            raise StudyError(
                f"{spec} gives {what} for a sample, and {data.name} has {data.classes} number"
                f"{'' if data.classes == 1 else 's'} to predict: expected the shape {expected[0][1:]}."
            )
        raise StudyError(
            f"{spec} gives {what} for a sample, and {data.name} has {data.classes} classes: expected the shape"
            f" {expected[0][1:]}, one score for each."
        )


def check_fit(spec: str, model: nn.Module, data: Dataset) -> None:
    """Check that a model can read one sample of a data set: some models read numbers, some read codes.

    Args:
        spec: Spec of the model, for messages.
        model: Model, built for the shape of the data, on the CPU. It and the random state are left as they were.
        data: Data set with the sample.
    Raises:
        StudyError: the model cannot read the sample, or its outputs have another shape than the labels need.
    Example:
        >>> from tieless.data import load
        >>> from tieless.study.network import check_fit
        >>> check_fit("a linear layer", nn.Linear(4, 2), load("ones(d=4, n=10)", seed=0))
    """
    training = model.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            outputs = model.eval()(data.train_x[:1])
        except TielessError:
            raise
        except (Exception, SystemExit) as error:  # noqa: BLE001  a model of the user's own may raise anything
            kind = str(data.train_x.dtype).removeprefix("torch.")
            raise StudyError(
                f"{spec} cannot read samples of {data.name}, {kind} of shape {tuple(data.train_x.shape[1:])}: "
                f"{(str(error).splitlines() or [type(error).__name__])[0]}"
            ) from None
        finally:
            model.train(training)
    _check_outputs(spec, outputs, data)
