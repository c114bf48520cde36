"""The quantised networks that ``ends="int8"`` stands for, in plain PyTorch: integers as float64, layer by layer.

Nothing here is taken from the runtime, nor from how layers are folded: modules of the frozen model compute all that lies
between a sum and an activation, in float32.
"""

import copy
import math

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


def reach(weights, low, high):
    """Largest magnitude of a product with integers from ``low`` to ``high``, or with 0 where it pads."""
    rows = weights.flatten(1)
    return float(
        torch.maximum(
            (rows.clamp(min=0) * high - rows.clamp(max=0) * -low).sum(1),
            (rows.clamp(min=0) * -low - rows.clamp(max=0) * high).sum(1),
        ).max()
    )


def halved(product, shift):
    """Nearest integers of ``product / 2^shift``, halves up."""
    return (product + 2 ** (shift - 1)) >> shift


def fixed(sums, largest, factor, offset, places):
    """``factor sums + offset`` in units of ``2^-places``, with whole factors if they are good to a thousandth of a unit of 1."""
    wanted, offset = factor.double() * 2.0**places, torch.round(offset.double() * 2.0**places).long()
    sums, whole = sums.long(), torch.round(wanted)
    if float((wanted - whole).abs().max()) * largest * 2.0**-places > 2.0**-10:
        shift = min(62, 24 - math.floor(math.log2(float(wanted.abs().max()))))
        sums, whole = (
            halved(sums * spread(torch.round(wanted * 2.0**shift).long(), sums), shift),
            torch.ones_like(wanted),
        )
    return sums * spread(whole.long(), sums) + spread(offset, sums)


def behind_norm(layer, norm, codes, ends, scale, places, pooled=lambda x: x):
    """Product, pool and batch norm of codes, in fixed point."""
    weights, unit = integers(layer)
    sums = pooled(sums_of(layer, codes.double(), weights))
    slope = norm.weight.double() / torch.sqrt(norm.running_var.double() + norm.eps)
    return fixed(
        sums,
        reach(weights, *ends),
        (unit * scale).double() * slope,
        norm.bias.double() - norm.running_mean.double() * slope,
        places,
    )


def last_layer(head, codes, scale):
    """Scores of the last layer with their unit."""
    weights, unit = integers(head, last=True)
    factor = float(unit[0].double() * scale)
    return sums_of(head, codes.double(), weights) + torch.round(head.bias.double() / factor), factor


def eight_bits(numbers, unit, floats):
    """Integers of 8 bits with the scale that the range of the same numbers in floating point needs."""
    low, high = float(floats.min()), float(floats.max())
    ends = (-127, 127) if low < 0 else (0, 255)
    scale = max(-low, high) / ends[1]
    shift = 14 - math.floor(math.log2(unit / scale))
    return halved(numbers * round(unit / scale * 2.0**shift), shift).clamp(*ends), scale


@torch.no_grad()
def residual(model, x, example, places):
    """Signs by the layer's name, and scores as integers with their scale, of a ``ResidualCNN`` that bends."""
    model = freeze(copy.deepcopy(model)).eval()
    codes, scale = quantised_input(x, example)
    conv, pool, norm = model.stem
    sums, found = behind_norm(conv, norm, codes, (0, 255), scale, places, pool), {}
    for stage, layers in model.stages.named_children():
        for name, layer in layers.named_children():
            if isinstance(layer, nn.MaxPool2d):
                sums = layer(sums.double()).long()
                continue
            signs = layer.act(sums.float() * 2.0**-places)
            found[f"stages.{stage}.{name}.act"] = signs
            total = behind_norm(layer.conv, layer.norm, signs, (-1, 1), 1.0, places) + torch.cat(
                [sums] * layer.repeat, 1
            )
            slope = spread(torch.round(layer.bend.prelu.weight.double() * 2**15).long(), total)
            sums = torch.where(total < 0, halved(total * slope, 15), total)
            sums = sums + spread(torch.round(layer.bend.shift.double().flatten() * 2.0**places).long(), sums)
    count = sums.shape[2] * sums.shape[3]
    floats = F.adaptive_avg_pool2d(model.stages(model.stem(example)), 1).flatten(1)
    codes, scale = eight_bits(sums.sum((2, 3)), 2.0**-places / count, floats)
    return found, *last_layer(model.head, codes, scale)


def spikes_of(cell, currents, places):
    """Spikes of a cell that begins at 0, over time steps in fixed point."""
    beta, threshold, v, spikes = round(cell.beta * 2**15), round(cell.threshold * 2**places), 0, []
    for current in currents:
        v = halved(torch.as_tensor(beta * v), 15) + current
        spikes.append((v > threshold).long())
        v = v - threshold * spikes[-1]
    return torch.stack(spikes)


@torch.no_grad()
def spiking(model, x, example, places):
    """Spikes by the cell's name, and scores as integers with their scale, of a ``SpikingCNN``."""
    model = freeze(copy.deepcopy(model)).eval()
    codes, scale = quantised_input(x, example)
    first = behind_norm(model.seen[0], model.seen[2], codes, (0, 255), scale, places, model.seen[1])
    found = {"first": spikes_of(model.first, [first] * model.steps, places)}
    currents = [
        behind_norm(model.between[0], model.between[2], step, (0, 1), 1.0, places, model.between[1])
        for step in found["first"]
    ]
    found["second"] = spikes_of(model.second, currents, places)
    weights, unit = integers(model.flat[1])
    flat = [
        fixed(
            sums_of(model.flat[1], step.flatten(1).double(), weights),
            reach(weights, 0, 1),
            unit,
            model.flat[1].bias,
            places,
        )
        for step in found["second"]
    ]
    found["third"] = spikes_of(model.third, flat, places)
    return found, *last_layer(model.scores, found["third"].sum(0), 1 / model.steps)
