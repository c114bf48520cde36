"""Network of a trial before its first update, and the check that it can read the samples of a data set."""

from __future__ import annotations

import math

import torch
from torch import nn

from tieless.convert import convert_feedback
from tieless.data import Dataset, load
from tieless.errors import StudyError, TielessError
from tieless.grammar import parse_call
from tieless.models import build_model
from tieless.study.settings.spelling import first_rule
from tieless.study.settings.weights import WEIGHTS
from tieless.study.trial import Trial


def start_of(trial: Trial) -> tuple[nn.Module, Dataset]:
    """Network of a trial before its first update, and its data. Seeds PyTorch's generator with the trial's seed.

    Raises:
        DataError, SpecError, RuleValueError: the data are unavailable, or a name is no longer registered.
    """
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
    rule, features = first_rule(trial.backward), math.prod(data.train_x.shape[1:])
    model = build_model(trial.model, trial.forward, rule, features=features, classes=data.classes)
    model.to(trial.device)
    # Convolutions and pooling of small images are a tenth faster so, on a CPU.
    model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  PyTorch's types lack this form
    WEIGHTS.build(parse_call(trial.weights)).apply(model)
    if trial.feedback != "tied":
        convert_feedback(model, trial.feedback, seed=trial.seed)
    return model


def check_fit(spec: str, model: nn.Module, data: Dataset) -> None:
    """Check that a model can read one sample of a data set: some models read numbers, some read codes.

    Args:
        spec: Spec of the model, for messages.
        model: Model, built for the shape of the data, on the CPU. It and the random state are left as they were.
        data: Data set with the sample.
    Raises:
        StudyError: the model cannot read the sample.
    Example:
        >>> from tieless.data import load
        >>> from tieless.study.network import check_fit
        >>> check_fit("a linear layer", nn.Linear(4, 2), load("ones(d=4, n=10)", seed=0))
    """
    training = model.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            model.eval()(data.train_x[:1])
        except TielessError:
            raise
        except (IndexError, RuntimeError, TypeError, ValueError) as error:
            kind = str(data.train_x.dtype).removeprefix("torch.")
            raise StudyError(
                f"{spec} cannot read samples of {data.name}, {kind} of shape {tuple(data.train_x.shape[1:])}: "
                f"{str(error).splitlines()[0]}"
            ) from None
        finally:
            model.train(training)
