"""Table of the rules to start with, behind errors, ``tieless rules --for`` and the page "Which rule do I choose?"."""

from __future__ import annotations

from typing import NamedTuple


class Advice(NamedTuple):
    """Rule that works with a forward: its spec, and what it is."""

    spec: str
    what: str


class Task(NamedTuple):
    """Network of one kind, with the rules to start with and what was measured of them."""

    name: str
    network: str
    forward: str | None
    """Name of the forward; ``None`` for any that has a derivative."""
    rules: tuple[Advice, ...]
    """Rules, best first."""
    measured: str
    """Markdown, with links from the folder of the documentation."""


WINDOW = Advice("rectangular(-0.5, 0.5)", "a window around the threshold, stores 1 bit an element")
SPIKING = Advice("atan(0.318, 1)", "the usual first choice for spiking networks, stores z")
CLIPPED = Advice("rectangular(-1, 1)", "the clipped straight-through estimator, stores 1 bit an element")
APPROXIMATE = Advice("triangular(1, height=2)", "nearer to a step in shape: ApproxSign, stores z")
STRAIGHT_THROUGH = Advice("constant", "straight-through, stores nothing")
SMOOTH = Advice("atan", "falls off smoothly, stores z")
TIED = Advice("tied", "the derivative itself")
FEW_BITS = Advice("few_bit(2)", "2 bits an element that follow its own derivative")
GATED_JAM = Advice("full_jam >> gated", "random multipliers in the derivative's gate, stores at most 1 bit an element")

TASKS = (
    Task(
        "steps",
        "a network of step functions",
        "heaviside",
        (WINDOW, Advice("triangular(1)", "a triangle around the threshold, stores z")),
        "LeNet-5: 85.7 % and 86.4 %, no learning below the last layer 52.6 % ([page](findings/step-functions.md))",
    ),
    Task(
        "spiking",
        "a spiking network",
        "heaviside",
        (SPIKING, Advice("fast_sigmoid(0.04, 1)", "narrower, with tails that fall as slowly, stores z")),
        "one recipe: 92.3 % on Fashion-MNIST ([zoo](binary.md#the-zoo)); rules were not compared there, and differ by less than "
        "seeds do [on digits](spiking.md#a-complete-script)",
    ),
    Task(
        "binary",
        "a binary network",
        "sign",
        (CLIPPED, APPROXIMATE),
        "the first: binary CNN 92.9 %, binary perceptron 89.1 % ([zoo](binary.md#the-zoo)); also with another width, "
        "[annealed](widths.md). The second: not measured",
    ),
    Task(
        "memory",
        "a transformer with GELU, with less memory",
        "gelu",
        (Advice("regelu2", "2 bits an element, a step function near the derivative of gelu"), FEW_BITS),
        "2 bits an element instead of 32; a ViT's activations take 25 % less ([performance](performance/memory.md)). Accuracy after "
        "fine-tuning, small ViT and BERT: within 2 points of native ([notebook](notebooks/transformer-memory.md))",
    ),
    Task(
        "memory",
        "a transformer with SiLU, with less memory",
        "silu",
        (Advice("resilu2", "2 bits an element, a step function near the derivative of silu"), FEW_BITS),
        "2 bits an element. Accuracy after training: not measured",
    ),
    Task(
        "memory",
        "any network, with ReLU",
        "relu",
        (TIED, GATED_JAM),
        "the first: 1 bit an element, the gradient of PyTorch. The second costs LeNet-5 about a point, and `constant`, which stores "
        "nothing, seven under Adam ([page](findings/index.md))",
    ),
    Task(
        "study",
        "a study of random gradients",
        None,
        (
            GATED_JAM,
            Advice("full_jam", "random multipliers everywhere, stores a key"),
        ),
        "the gate decides in LeNet-5 with ReLU ([page](findings/lost-mask.md))",
    ),
)
