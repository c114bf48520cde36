"""The playground's mathematics is the library's: every forward, rule and optimiser that it offers, beside PyTorch."""

import math
import subprocess
import sys

import pytest
import torch
from torch.nn import functional as F

import tieless as tl
from tests.playground.conftest import BUILD
from tieless.errors import RuleValueError, SpecError, UntrainableError
from tieless.forwards import forward as forward_of
from tieless.functional import pair_of
from tieless.kernels import reference
from tieless.ops import keys

# Stated rounding, relative: float64 both times, but sums in another order, and another exp, sin and tanh.
ELEMENT, TRAINED = 1e-12, 1e-9

RULES = {
    **{name: [name] for name in tl.rules() if name not in BUILD["LEFT_OUT"]},
    "centralize": ["centralize(-1)", "centralize(0)"],
    "clip": ["clip(0.3)"],
    "clip_norm": ["clip_norm(0.5)", "clip_norm(1000)"],
    "constant": ["constant(0.3)"],
    "drop": ["drop(0.3)"],
    "few_bit": ["few_bit(1)", "few_bit(2)", "few_bit(3)", "few_bit(4)"],
    "flip": ["flip(0.3)"],
    "gated": ["gated", 'gated(where="nonzero")'],
    "full_jam": ["full_jam", 'full_jam(minimum=-0.5, maximum=2, replace="magnitude")'],
    "leaky_relu": ["leaky_relu(0.1, 2)"],
    "log_tailed_relu": ["log_tailed_relu(0.5, 2, 0.1)"],
    "noise": ["noise(0.3)"],
    "normalize": ["normalize", 'normalize(per="tensor")'],
    "piecewise_exp": ["piecewise_exp(0.5, 2, center=0.3)"],
    "positive_jam": ["positive_jam", 'positive_jam(gate="feedback")'],
    "q_pseudo_spike": ["q_pseudo_spike(0.7, 2, 3)"],
    "quantize": ["quantize(2)", "quantize(5)"],
    "rectangular": ["rectangular(-0.5, 0.5)", "rectangular(-1, 0.25, height=2)"],
    "rectangular_jam": [
        "rectangular_jam(-1, 0.5)",
        *(f'rectangular_jam(-0.1, 0.1, gate="feedback", replace="{part}")' for part in ("magnitude", "feedback")),
    ],
    "rotate": ["rotate(30)"],
    "s2nn": ["s2nn(0.3, 2, 0.5)"],
    "scale": ["scale(-2)"],
    "sign": ["sign", 'sign(norm="sample")', 'sign(norm="tensor")'],
    "sparse_fast_sigmoid": ["sparse_fast_sigmoid(0.7, 2, 0.6)", 'sparse_fast_sigmoid(part="above")'],
    "square_wave_series": ["square_wave_series(1.5, 2, terms=3)"],
    "stochastic_spike": ["stochastic_spike(0.1, 0.4)"],
}
CHAINS = [
    "full_jam >> gated",
    "constant(2) >> gated",
    "noise(0.1) >> noise(0.1)",
    "tied >> drop(0.5)",
    "rectangular(-1, 1) >> sign",
    "full_jam >> rectangular_jam(-1, 1)",
    "rotate(20) >> full_jam",
    "atan >> clip_norm(0.1)",
]
CANCELS = {"centralize(0)", "normalize"}
"""Rules whose gradients cancel to 0 but for the rounding, which Adam divides by its own size."""
SPECS = [*(spec for specs in RULES.values() for spec in specs), *CHAINS]
FORWARDS = BUILD["specs"]()


def assert_near(found, wanted, rel, abs=0.0):  # noqa: A002 - named as pytest.approx has it, which takes minutes here
    """Check each element of what the page found."""
    wanted = torch.as_tensor(wanted, dtype=torch.float64).detach().flatten()
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), wanted, rtol=rel, atol=abs)


def goes(forward, rule):
    try:
        pair_of(forward, rule)
    except (RuleValueError, UntrainableError):
        return False
    return True


def test_the_error_function(quiet):
    x = torch.cat([torch.linspace(-7, 7, 2001, dtype=torch.float64), torch.tensor([1e-300, 0.84375, 1.25, 1 / 0.35])])
    found = quiet.evaluate("(x) => x.map(playground.erf)", x.tolist())
    assert_near(found, [math.erf(one) for one in x.tolist()], rel=1e-15)


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_the_generator_is_pytorchs(quiet, seed):
    found = quiet.evaluate(
        """(seed) => {
            const [one, other] = [new playground.Generator(seed), new playground.Generator(seed)];
            const key = () => { const { high, low } = other.key(); return [high, low]; };
            return [Array.from({ length: 700 }, () => one.uniform()), Array.from({ length: 700 }, key)];
        }""",
        seed,
    )
    torch.manual_seed(seed)
    assert found[0] == torch.rand(700, dtype=torch.float64).tolist()
    generator = torch.Generator().manual_seed(seed)
    drawn = [keys.number(generator) for _ in range(700)]
    assert [tuple(key) for key in found[1]] == [((key >> 32) & 0xFFFFFFFF, key & 0xFFFFFFFF) for key in drawn]


@pytest.mark.parametrize("key", [0, -1, 0x123456789ABCDEF, -(2**63)])
@pytest.mark.parametrize(("stream", "draw"), [(0, 0), (1, 0), (1, 1)])
def test_random_multipliers_are_the_same_numbers(quiet, key, stream, draw):
    words = {"high": (key >> 32) & 0xFFFFFFFF, "low": key & 0xFFFFFFFF}
    found = quiet.evaluate(
        "([key, stream, draw]) => [...playground.uniforms(1003, key, stream, draw)]", [words, stream, draw]
    )
    assert found == reference.uniform(torch.empty(1003), key, stream, draw).tolist()


def places():
    """Numbers on both sides of every kink, the kinks themselves, and far ends."""
    kinks = torch.tensor([0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.5, 3, 6], dtype=torch.float64)
    kinks = torch.cat([kinks, kinks + 1e-9, kinks - 1e-9])
    return torch.cat(
        [kinks, -kinks, torch.linspace(-9, 9, 181, dtype=torch.float64), torch.tensor([-40.0, 25.0, 40.0])]
    )


@pytest.mark.parametrize("forward", FORWARDS)
def test_a_forward_and_its_derivative(quiet, forward):
    z = places()
    value, slope = quiet.evaluate(
        """([name, z]) => {
            const { value, slope } = playground.FORWARDS[name];
            return [z.map(value), slope ? z.map((one) => slope(one, value(one))) : null];
        }""",
        [forward, z.tolist()],
    )
    half = forward_of(forward)
    assert_near(value, half.value(z), rel=ELEMENT, abs=1e-15)
    if half.derivative() is None:
        assert slope is None
        return
    z.requires_grad_()
    tl.untie(z, half, "tied").sum().backward()
    assert_near(slope, z.grad, rel=ELEMENT, abs=1e-15)


@pytest.mark.parametrize("spec", SPECS)
def test_a_rule_sends_the_same_beside_every_forward(quiet, spec):
    """Or both refuse the pair. The page writes the rule as the library does."""
    generator = torch.Generator().manual_seed(3)
    z = torch.cat([places(), torch.randn(1, dtype=torch.float64, generator=generator)]).view(-1, 5)
    g = torch.randn(z.shape, dtype=torch.float64, generator=generator) * 0.4
    g[3] = 0
    found = quiet.evaluate(
        """([spec, names, z, g, columns]) => {
            const rule = playground.parseRule(spec);
            const { key } = { key: new playground.Generator(7).key() };
            const sent = names.map((name) => {
                if (playground.refusal(rule, name)) return null;
                const at = Float64Array.from(z);
                const y = at.map((one) => playground.FORWARDS[name].value(one));
                return [...playground.send(rule, name, Float64Array.from(g), at, y, columns, key)];
            });
            return [playground.formatRule(rule), sent];
        }""",
        [spec, FORWARDS, z.flatten().tolist(), g.flatten().tolist(), z.shape[1]],
    )
    rule = tl.rule(spec)
    assert found[0] == str(rule)
    for forward, sent in zip(FORWARDS, found[1], strict=True):
        assert goes(forward, rule) == (sent is not None), forward
        if sent is None:
            continue
        leaf = z.clone().requires_grad_()
        tl.untie(leaf, forward, rule, generator=torch.Generator().manual_seed(7)).backward(g)
        assert_near(sent, leaf.grad, rel=ELEMENT, abs=1e-15)


@pytest.mark.parametrize(
    "spec",
    [
        *(
            "rectangular(1, -1)",
            "atan(0)",
            "atan(1, -1)",
            "drop(1)",
            "flip(1.1)",
            "quantize(1)",
            "quantize(2.5)",
            "few_bit(5)",
        ),
        *("noise(-1)", "clip(0)", "rotate(181)", "full_jam(minimum=1)", "s2nn(1, 1, 0)", "q_pseudo_spike(1, 1, 0)"),
        *("square_wave_series(1, 1, terms=0)", "stochastic_spike(0, 0)", "piecewise_leaky_relu(0)", "noise", "clip()"),
        *(
            "sparse_fast_sigmoid(1, 1, -1)",
            'sign(norm="all")',
            "atan(width=x)",
            "constant(1, 2)",
            "nothing",
            "",
            "atan >>",
        ),
        *(
            "rectangular_jam(5, -5)",
            "log_tailed_relu(0)",
            "clip_norm(-1)",
            "triangular(1, height=0)",
            "constant(high=2)",
        ),
    ],
)
def test_what_the_library_refuses_the_page_refuses(quiet, spec):
    with pytest.raises((SpecError, RuleValueError, tl.errors.RuleTypeError)):
        tl.rule(spec)
    refuse = "(spec) => { try { playground.parseRule(spec); return ''; } catch (error) { return error.message; } }"
    assert quiet.evaluate(refuse, spec)


def case(number, spec, forward):
    """Settings of an experiment; all data, optimisers, depths and widths have their turn."""
    optimiser, rate = [("adam", 0.02), ("sgd", 0.3), ("momentum", 0.1)][number % 3]
    if spec in CANCELS:
        optimiser = "sgd"
    return {
        "data": ["ring", "spirals", "xor", "moons"][number % 4],
        "noise": 0.1,
        "depth": 1 + number // 3 % 3,
        "width": [4, 8, 16][number // 2 % 3],
        "forward": forward,
        "rule": spec,
        "optimiser": optimiser,
        "rate": rate,
        "seed": number,
    }


def cases():
    """Every rule, beside a forward that it goes with, and every forward with its derivative or a window."""
    chosen = ["heaviside", "tanh", "relu", "gelu", "silu", "logistic", "sign"]
    for number, spec in enumerate(SPECS):
        fitting = [forward for forward in chosen[number % 2 :] + chosen if goes(forward, tl.rule(spec))]
        yield case(number, spec, fitting[0])
    for number, forward in enumerate(FORWARDS):
        yield case(number, "rectangular(-1, 1)" if forward_of(forward).derivative() is None else "tied", forward)


@pytest.fixture
def float64_again():
    before = torch.get_default_dtype()
    yield
    torch.set_default_dtype(before)


def trained(program):
    """Names of a copied program after it has run."""
    names = {}
    exec(compile(program, "copied", "exec"), names)  # noqa: S102 - the page's own text
    return names


TRAIN = """([settings, steps]) => {
    const experiment = new playground.Experiment({ ...playground.DEFAULTS, ...settings });
    for (let i = 0; i < steps; i++) experiment.step();
    const flat = (layers) => layers.flatMap(({ weight, bias }) => [[...weight], [...bias]]);
    const { chosen } = experiment;
    return {
        program: playground.pythonOf(settings, steps),
        points: [...experiment.data.points],
        losses: chosen.losses,
        gradients: flat(chosen.pass.gradients),
        weights: flat(chosen.network),
        accuracy: chosen.accuracy,
    };
}"""


@pytest.mark.parametrize("settings", list(cases()), ids=lambda one: "{seed}-{forward}-{rule}".format(**one))
@pytest.mark.usefixtures("float64_again")
def test_twenty_steps_are_those_of_the_copied_program(quiet, settings, capsys):
    """Losses before each step, the gradients of the last one, and the weights after it."""
    found = quiet.evaluate(TRAIN, [settings, 20])
    names = trained(found["program"])
    assert_near(found["points"], names["points"], rel=0, abs=1e-14)
    assert_near(found["losses"], names["losses"], rel=TRAINED)
    gradients = [one.grad for one in names["net"].parameters()]
    largest = max(float(one.abs().max()) for one in gradients)
    for mine, theirs in zip(found["gradients"], gradients, strict=True):
        assert_near(mine, theirs, rel=TRAINED, abs=TRAINED * largest)
    for mine, theirs in zip(found["weights"], names["net"].parameters(), strict=True):
        assert_near(mine, theirs, rel=TRAINED, abs=TRAINED)
    assert f"loss {found['losses'][-1]:.6f} in step 20" in capsys.readouterr().out


def test_the_copied_program_runs_by_itself(quiet, tmp_path):
    found = quiet.evaluate(TRAIN, [case(0, "full_jam >> gated", "relu"), 50])
    (tmp_path / "copied.py").write_text(found["program"], encoding="utf-8")
    done = subprocess.run([sys.executable, "copied.py"], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == f"loss {found['losses'][-1]:.6f} in step 50, accuracy {100 * found['accuracy']:.1f} %\n"


@pytest.mark.parametrize(
    ("forward", "rule"),
    [
        *(
            ("relu", "constant(1)"),
            ("logistic", "full_jam"),
            ("tanh", "tied"),
            ("gelu", "sign"),
            ("relu", "full_jam >> gated"),
        ),
        *((forward, "rectangular(-1, 1)") for forward in FORWARDS if forward_of(forward).derivative() is None),
    ],
)
@pytest.mark.usefixtures("float64_again")
def test_cosines_are_those_of_alignment(quiet, forward, rule):
    settings = {**case(1, rule, forward), "depth": 2, "width": 8}
    found = quiet.evaluate(
        """(settings) => {
            const experiment = new playground.Experiment(settings);
            for (let i = 0; i < 10; i++) experiment.step();
            const { network } = experiment.chosen;
            const rule = playground.parseRule(settings.rule);
            const pass = playground.untiedPass(network, settings.forward, rule, experiment.data, new playground.Generator(5));
            const reference = playground.referenceGradients(network, settings.forward, pass, experiment.data);
            return [playground.pythonOf(settings, 10), pass.gradients.map((one, i) => playground.cosine(one, reference[i]))];
        }""",
        settings,
    )
    names = trained(found[0])
    report = tl.alignment(
        names["net"],
        lambda scores, label: F.binary_cross_entropy_with_logits(scores.squeeze(1), label),
        (names["points"], names["label"]),
        seed=5,
    )
    assert found[1] == pytest.approx([layer.cosine for layer in report.layers.values()], abs=1e-9)


def test_frozen_trains_the_last_layer_alone_and_a_flat_derivative_is_frozen(quiet):
    before, after, alike = quiet.evaluate(
        """() => {
            const weights = (run) => run.network.map(({ weight }) => [...weight]);
            const experiment = new playground.Experiment({ ...playground.DEFAULTS, forward: "heaviside" });
            const before = weights(experiment.frozen);
            for (let i = 0; i < 5; i++) experiment.step();
            return [before, weights(experiment.frozen), experiment.tied === experiment.frozen];
        }"""
    )
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False]
    assert alike
