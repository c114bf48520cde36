"""The quantised networks that ``ends="int8"`` stands for, in plain PyTorch: integers as float64, layer by layer.

Nothing here is taken from the runtime, nor from how layers are folded: modules of the frozen model compute all that lies
between a sum and an activation, in float32.
"""

import copy

import torch
from torch import nn
from torch.nn import functional as F

from tieless.deploy.grids import exact_grid, rounded_grid
from tieless.nn import Activation, freeze


def sums_of(layer, x, weights):
    """Products of integers, exact in float64."""
    if isinstance(layer, nn.Linear):
        return F.linear(x, weights)
    function = F.conv1d if isinstance(layer, nn.Conv1d) else F.conv2d
    return function(x, weights, None, layer.stride, layer.padding, layer.dilation, layer.groups)


def integers(layer, *, last=False, bits=8):
    grid = exact_grid(layer.weight) or rounded_grid(layer.weight, bits, per_output=not last)
    return torch.from_numpy(grid.weight.values).double(), grid.scale


def spread(vector, x):
    return vector.reshape(1, -1, *(1,) * (x.dim() - 2))


def quantised_input(x, example):
    low, high = float(example.min()), float(example.max())
    ends = (-127, 127) if low < 0 else (0, 255)
    scale = torch.tensor(max(-low, high) / ends[1], dtype=torch.float64).float()
    return torch.round(x / scale).clamp(*ends).double(), float(scale)


def sequential(model, x, example):
    """Activations by name, and scores as integers with their scale, of layers in a row."""
    model = freeze(copy.deepcopy(model)).eval()
    products = [layer for layer in model if isinstance(layer, (nn.Linear, nn.Conv1d, nn.Conv2d))]
    found, scale, codes = {}, None, None
    for name, layer in model.named_children():
        if layer in products:
            last = layer is products[-1]
            if codes is None:
                codes, scale = quantised_input(x, example)
            weights, unit = integers(layer, last=last)
            sums = sums_of(layer, codes, weights)
            factor = unit.double() * scale
            if last and bool((factor == factor[0]).all()):
                bias = 0 if layer.bias is None else torch.round(layer.bias.double() / factor[0])
                assert layer is next(reversed(list(model.children())))
                return found, sums + bias, float(factor[0])
            factor = unit * scale
            x = sums.float() * spread(factor, sums)
            if layer.bias is not None:
                x = x + spread(layer.bias, x)
        elif isinstance(layer, Activation):
            x = layer(x)
            found[name] = x
            steps = getattr(layer.forward_fn, "levels", 2) - 1
            codes, scale = torch.round(x.double() * steps), 1 / steps
        elif isinstance(layer, nn.AvgPool2d):
            size = layer.kernel_size
            codes, scale = F.avg_pool2d(codes, size, divisor_override=1), scale / size**2
        elif isinstance(layer, nn.Flatten):
            x = layer(x)
            codes = None if codes is None else layer(codes)
        else:
            x = layer(x)
    raise AssertionError("the last layer is linear")
