"""The cases of the guarantees: every forward with every rule that goes with it, in every reading."""

from tieless.errors import RuleValueError, UntrainableError
from tieless.functional import join

__all__ = ["FORWARDS", "PAIRS", "RULES"]

FORWARDS = [
    "elu",
    "gelu",
    "hard_sigmoid",
    "hard_tanh",
    "heaviside",
    "leaky_relu",
    "linear",
    "logistic",
    "relu",
    "relu6",
    "round",
    "sawtooth",
    "sign",
    "silu",
    "softplus",
    "square_wave",
    "staircase(4)",
    "tanh",
    "ternary",
]
RULES = [
    "atan",
    "centralize",
    "clip(0.1)",
    "clip_norm(0.5)",
    "constant(0.5)",
    "drop(0.5)",
    "fast_sigmoid(0.2)",
    "few_bit(3)",
    "flip(0.3)",
    "frozen",
    "full_jam",
    'full_jam(minimum=-1, maximum=2, replace="magnitude")',
    "noise(0.1)",
    "normalize",
    "positive_jam",
    'positive_jam(gate="feedback")',
    'positive_jam(gate="feedback", replace="magnitude")',
    "quantize(3)",
    "rectangular",
    "rectangular_jam(-1, 1)",
    'rectangular_jam(-1, 1, gate="feedback")',
    'rectangular_jam(-1, 1, gate="feedback", replace="magnitude")',
    "regelu2",
    "resilu2",
    "rotate(30)",
    "scale(-2)",
    "sigmoid(0.25)",
    "sign",
    "tied",
    "triangular",
    "rectangular(-1, 1) >> noise(0.1) >> full_jam",
    "tied >> positive_jam >> clip_norm(1.0)",
]


def _fits(forward: str, rule: str) -> bool:
    try:
        join(forward, rule)
    except (RuleValueError, UntrainableError):
        return False
    return True


PAIRS = [(forward, rule) for forward in FORWARDS for rule in RULES if _fits(forward, rule)]
