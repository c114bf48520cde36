"""The cases of the guarantees: every forward with every rule that goes with it, in every reading."""

from tieless.errors import RuleValueError, UntrainableError
from tieless.functional import join
from tieless.kernels.elementwise import TOLERANCES

__all__ = ["EVERY_PAIR", "FORWARDS", "OWN_EXP", "PAIRS", "RULES"]

FORWARDS = [
    "abs",
    "bernoulli",
    "ceil",
    "clamp",
    "elu",
    "floor",
    "gelu",
    "hard_sigmoid",
    "hard_tanh",
    "heaviside",
    "leaky_relu",
    "linear",
    "logistic",
    "magnitude_aware_sign",
    "quantize(0.5)",
    "relu",
    "relu6",
    "round",
    "round_to_zero",
    "sawtooth",
    "sign",
    "signed_staircase(3)",
    "silu",
    "softplus",
    "spike_count",
    "square_wave",
    "staircase(4)",
    "tanh",
    "ternary",
    "ternary_weight",
]
RULES = [
    "atan",
    "centralize",
    "circ(0.4)",
    "clip(0.1)",
    "clip_norm(0.5)",
    "constant(0.5)",
    "drop(0.5)",
    "erf(0.5)",
    "fake_numerical_gradient(0.5, 2)",
    "fast_sigmoid(0.2)",
    "few_bit(3)",
    "flip(0.3)",
    "frozen",
    "full_jam",
    'full_jam(minimum=-1, maximum=2, replace="magnitude")',
    "gated",
    "leaky_relu(0.1)",
    "log_tailed_relu(0.5, leak=0.1)",
    "magnitude_aware",
    "noise(0.1)",
    "normalize",
    "piecewise_exp(0.5, center=0.3)",
    "piecewise_leaky_relu",
    "positive_jam",
    'positive_jam(gate="feedback")',
    'positive_jam(gate="feedback", replace="magnitude")',
    "q_pseudo_spike",
    "quantize(3)",
    "rectangular",
    "rectangular_jam(-1, 1)",
    'rectangular_jam(-1, 1, gate="feedback")',
    'rectangular_jam(-1, 1, gate="feedback", replace="magnitude")',
    "regelu2",
    "resilu2",
    "rotate(30)",
    "s2nn",
    "scale(-2)",
    "sigmoid(0.25)",
    "sign",
    "sign_log_abs",
    "sparse_fast_sigmoid(0.5)",
    "square_wave_series(terms=3)",
    "stochastic_spike(mean=1)",
    "swish_sign",
    "tied",
    "triangular",
    "rectangular(-1, 1) >> noise(0.1) >> full_jam",
    "tied >> positive_jam >> clip_norm(1.0)",
]


# Made of the same parts as other rules and forwards, so in the tests they meet one of each kind only.
SURROGATES = {
    "circ(0.4)",
    "erf(0.5)",
    "fake_numerical_gradient(0.5, 2)",
    "leaky_relu(0.1)",
    "log_tailed_relu(0.5, leak=0.1)",
    "magnitude_aware",
    "piecewise_exp(0.5, center=0.3)",
    "piecewise_leaky_relu",
    "q_pseudo_spike",
    "s2nn",
    "sign_log_abs",
    "sparse_fast_sigmoid(0.5)",
    "square_wave_series(terms=3)",
    "stochastic_spike(mean=1)",
    "swish_sign",
}
QUANTISERS = {
    "abs",
    "bernoulli",
    "ceil",
    "clamp",
    "floor",
    "magnitude_aware_sign",
    "quantize(0.5)",
    "round_to_zero",
    "signed_staircase(3)",
    "spike_count",
    "ternary_weight",
}
MEETING_SURROGATES = {"heaviside", "leaky_relu", "tanh"}
MEETING_QUANTISERS = {"constant(0.5)", "few_bit(3)", "full_jam", "rectangular", "tied", "triangular"}

OWN_EXP = [rule for rule in RULES if rule.partition("(")[0] in TOLERANCES]
"""Their kernels compute exp by themselves, to an ulp that PyTorch's own may not hit."""


def _fits(forward: str, rule: str) -> bool:
    try:
        join(forward, rule)
    except (RuleValueError, UntrainableError):
        return False
    return True


def _tested(forward: str, rule: str) -> bool:
    return not (
        (rule in SURROGATES and forward not in MEETING_SURROGATES)
        or (forward in QUANTISERS and rule not in MEETING_QUANTISERS)
    )


EVERY_PAIR = [(forward, rule) for forward in FORWARDS for rule in RULES if _fits(forward, rule)]
PAIRS = [pair for pair in EVERY_PAIR if _tested(*pair)]
"""Those that every run of the tests asks; ``python -m tests.matrix`` asks every one."""
