"""Helpers of another module, which the nets of ``test_ways`` call."""

import functools

import torch
from torch.nn import functional as F


def swish(x: torch.Tensor) -> torch.Tensor:
    return x * torch.sigmoid(x)


def squashed(x):
    return _inner(x)


def _inner(x):
    return torch.tanh(x)


def applied(function, x):
    return function(x)


def loss(y, target):
    return torch.sigmoid(y) - target


def without_wraps(forward):
    def wrapper(self, *given):
        return forward(self, *given)

    return wrapper


def decorated(forward):
    def wrapper(self, *given):
        return F.relu(forward(self, *given))

    wrapper.__wrapped__ = forward
    return wrapper


def wrapped(forward):
    @functools.wraps(forward)
    def wrapper(*given, **named):
        return forward(*given, **named)

    return wrapper


class Descriptor:
    def __init__(self, function):
        self.function = function

    def __get__(self, module, cls=None):
        return functools.partial(self.function, module)


class Callable:
    def __call__(self, x):
        return F.relu(x)
