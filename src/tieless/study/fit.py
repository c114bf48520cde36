"""Whether a model can read the samples of a data set."""

from __future__ import annotations

import torch
from torch import nn

from tieless.data import Dataset
from tieless.errors import StudyError, TielessError

__all__ = ["check_fit"]


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
        >>> from tieless.study.fit import check_fit
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
