"""The network of a trial before its first step, and whether it can read the samples of a data set."""

from __future__ import annotations

import math

import torch
from torch import nn

from tieless.convert import convert_feedback
from tieless.data import Dataset, load
from tieless.errors import StudyError, TielessError
from tieless.models import build_model
from tieless.spec import parse_call
from tieless.study.settings.spelling import first_rule
from tieless.study.settings.weights import WEIGHTS
from tieless.study.trial import Trial


def start_of(trial: Trial) -> tuple[nn.Module, Dataset]:
    """The network of a trial as it is before its first step, and its data. Seeds PyTorch's generator with the trial's seed.

    Raises:
        DataError, SpecError, RuleValueError: the data cannot be had, or a name is not registered any more.
    """
    torch.manual_seed(trial.seed)
    data = load(trial.data, seed=trial.seed, subset=trial.subset, device=trial.device)
    return network_of(trial, data), data


def network_of(trial: Trial, data: Dataset) -> nn.Module:
    """The network of a trial on its device, with its initial weights and its feedback weights.

    Args:
        trial: The trial; its data are those of ``data``.
        data: The data set, whose shape and number of classes the network gets.
    Raises:
        SpecError, RuleValueError: a name is not registered any more, or a model does not fit the shape of the data.
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
    """Let a model read one sample: some read numbers, some codes. It and the random state are left as they were.

    Args:
        spec: What a message calls the model.
        model: It, built for the shape of the data, on the CPU.
        data: The data set.
    Raises:
        StudyError: it cannot.
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
