"""Write docs/api/index.md, the public names by task. A test holds the page to the code, and to having every name.

python tools/api_tasks.py
"""

from __future__ import annotations

import html
import importlib
import inspect
import re
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

REFERENCE = Path(__file__).parents[1] / "docs" / "api"
PAGE = REFERENCE / "index.md"
MODULES = (
    *(
        "tieless",
        "tieless.rules",
        "tieless.forwards",
        "tieless.convert",
        "tieless.feedback",
        "tieless.nn",
        "tieless.optim",
    ),
    *("tieless.diagnose", "tieless.deploy", "tieless.models", "tieless.data", "tieless.study", "tieless.report"),
    *("tieless.levels", "tieless.testing", "tieless.errors"),
)
"""Modules of the library for users, the first that has a name being its place."""

TASKS = {
    "Give an activation a gradient of your choice": (
        "[Your first custom gradient](../tutorial.md)",
        ("untie Activation rule rules register_rule forward forwards register_forward RuleLike ForwardLike"),
    ),
    "Choose a rule: surrogate gradients": (
        "[Which rule do I choose?](../choose-a-rule.md)",
        (
            "ATan Bump Circ Erf FakeNumericalGradient FastSigmoid LeakyReLU LogTailedReLU MagnitudeAware PiecewiseExp PiecewiseLeakyReLU "
            "QPseudoSpike S2NN Sigmoid SignLogAbs SparseFastSigmoid SquareWaveSeries StochasticSpike SwishSign Triangular"
        ),
    ),
    "Choose a rule: constants, windows, gates and baselines": (
        "[Catalogue of backward rules](../rules.md)",
        ("Tied Frozen Constant Rectangular Gated Rule Chain"),
    ),
    "Choose a rule: random multipliers": (
        "[Concepts](../concepts.md)",
        ("FullJam PositiveJam RectangularJam Random GraphKeys"),
    ),
    "Choose a rule: change the incoming gradient": (
        "[Catalogue of backward rules](../rules.md)",
        ("Sign Normalize Noise Clip ClipNorm Centralize Scale Drop Flip Rotate Quantize Transform"),
    ),
    "Choose a forward": (
        "[tieless.forwards](forwards.md)",
        (
            "Abs Bernoulli Ceil Clamp Elementwise Elu FixedFunction Floor Forward Gelu HardSigmoid HardTanh Heaviside LeakyRelu Linear "
            "Logistic MagnitudeAwareSign Relu Relu6 Round RoundToZero Sawtooth SignedStaircase Silu Softplus SpikeCount SquareWave "
            "Staircase Tanh Ternary TernaryWeight forwards.Sign forwards.Quantize"
        ),
    ),
    "Change the rule while training": (
        "[Anneal or learn the width of a rule](../widths.md)",
        (
            "anneal alternate Anneal Alternate RuleSchedule rule_schedule register_schedule RuleScheduler LearnableActivation Objective "
            "SmoothedTarget Spread"
        ),
    ),
    "Convert an existing model": (
        "[Convert an existing model](../convert.md)",
        (
            "convert revert conversion Conversion FoundActivation Unreached Layers Selector Selectors select_layers UNTIED_CALLS "
            "activations calls_of native_activations"
        ),
    ),
    "Store less for the backward pass": (
        "[Measure what a model stores](../explain.md)",
        (
            "explain Explanation ExplainedActivation ActivationRun ModelRun packed_activations PackedStatistics FewBit ReGELU2 ReSiLU2 Levels "
            "optimal_levels error_of REGELU2 RESILU2"
        ),
    ),
    "Find out why a network does not train": (
        "[Find dead and exploding gradients](../checkup.md)",
        ("checkup Checkup Finding LayerHealth"),
    ),
    "Compare a gradient with the true one": (
        "[Compare a gradient with the true one](../alignment.md)",
        (
            "alignment AlignmentReport Comparison Agreement descent Descent DescentStep bounds Bounds SlopeBound kantorovich_bound "
            "expected_cosine slope_profiles SlopeProfile AlignmentMonitor AlignmentRow Measurement AlignmentLog CsvLog TensorBoardLog "
            "plot_alignment plot_history plot_norms plot_slopes"
        ),
    ),
    "Train spiking networks": ("[Train spiking networks](../spiking.md)", "LIF Reset"),
    "Train binary and quantised networks": (
        "[Train binary and ternary networks](../binary.md)",
        (
            "BinaryLinear BinaryConv1d BinaryConv2d TernaryLinear TernaryConv1d TernaryConv2d QuantLinear QuantConv1d QuantConv2d "
            "QuantizedLayer QuantizedWeight WeightScale quantize_weights restore_weights freeze latent_weights clip_latent_weights "
            "load_float Bop clip_after_step"
        ),
    ),
    "Use feedback alignment": (
        "[Use feedback alignment](../feedback.md)",
        (
            "convert_feedback revert_feedback feedbacks feedback feedback_of tied_feedback Feedback TiedFeedback FeedbackAlignment "
            "DirectFeedbackAlignment UniformSign BatchwiseSign FixedSign FeedbackLayer FeedbackLike FeedbackScale Carrier Geometry deliver "
            "key_of send undelivered"
        ),
    ),
    "Train with an optimiser that ignores gradient norms": (
        "[Train with an optimiser that ignores gradient norms](../direction-first.md)",
        ("DirectionFirst split_parameters"),
    ),
    "Deploy a binary network": (
        "[Deploy a binary network](../deploy.md)",
        ("pack Packed to_c CProgram to_onnx ExplainedNetwork ExplainedLayer Ends"),
    ),
    "Run and judge a study": (
        "[Run a study](../run-a-study.md), [Write a study](../write-a-study.md)",
        (
            "load_study parse_study shipped run Pool DaskPool Study Trial Result EpochRecord Batch Store Summary Event Started Epoch "
            "Finished Retried Waiting Notice"
        ),
    ),
    "Judge claims": (
        "[How claims are judged](../statistics.md)",
        (
            "parse_claim Claim judge ClaimVerdict ClaimCell Arm Differences Excess Mean foresee Foresight power seeds_needed Choose "
            "Choice Tried choices"
        ),
    ),
    "Bring a network, data, a loss or a metric of your own": (
        "[A study of your own network](../own-network.md)",
        (
            "register_model register_data register_loss register_metric model_spec models build_model ModelSpec datasets load get locate "
            "is_available Dataset"
        ),
    ),
    "Write tables, reports and figures": (
        "[Run a study](../run-a-study.md)",
        (
            "export_table export_runs load_table trial_rows epoch_rows alignment_rows collect Report write table claims table_claim "
            "table_summary Watch plot_curves plot_table plot_heatmap plot_forest latex write_figure write_table FigureFormat Kind curve_of draw_rule "
            "RuleCurve Line"
        ),
    ),
    "Use a network that ships": (
        "[Study reference](../studies.md#models)",
        (
            "SUC MLP LeNet5 ResNet ResidualCNN ViT GPT GRU GRULayer Gates SeriesCNN SeriesGRU SpikingCNN BinaryMLP BinaryLeNet5 Norm"
        ),
    ),
    "Test a rule of your own": (
        "[Write your own rule](../own-rules.md)",
        ("check_rule RuleReport Check temporary_names"),
    ),
    "Catch errors": (
        "[tieless.errors](errors.md)",
        (
            "TielessError SpecError RuleTypeError RuleValueError UntrainableError TransformError SecondDerivativeError RuleCheckError "
            "ConversionError KernelError DataError StudyError LostResultError DeployError MissingExtraError SharedWarning UnreachedWarning"
        ),
    ),
}
"""Tasks: the page that shows each, and the public names for it."""

INTRODUCTION = """# API by task

Every public name, by what it is for; open a section for a sentence about each. The pages beside this one have them by module. Names without a module are those of
`import tieless as tl`; `tieless.compat` has [those of other libraries](compat.md).
"""


CATALOGUES = {
    "rules": "Backward rules by name: `tl.rules()`. The module of their classes too.",
    "forwards": "Forwards by name: `tl.forwards()`. The module of their classes too.",
}
"""Names that are a module and a function."""


def public() -> dict[str, ModuleType]:
    """Public names, each with the first module that has it."""
    found: dict[str, ModuleType] = {}
    for module in map(importlib.import_module, MODULES):
        for name in module.__all__:
            first = found.setdefault(name, module)
            if name not in CATALOGUES and getattr(first, name) is not getattr(module, name):
                found[f"{module.__name__.removeprefix('tieless.')}.{name}"] = module
    return found


def _places() -> dict[str, str]:
    """Page of each public name, with its anchor where it has one: what a directive of the reference names alone comes first."""
    known, alone, within = public(), dict[str, str](), dict[str, str]()
    for page in sorted(REFERENCE.glob("*.md")):
        for path in re.findall(r"^::: (\S+)$", page.read_text(encoding="utf-8"), re.MULTILINE):
            thing = resolve_name(path)
            for name, module in known.items():
                short = name.rsplit(".", 1)[-1]
                meant = getattr(module, short)
                if meant is thing or (name in CATALOGUES and path == f"tieless.{name}.{name}"):
                    alone.setdefault(name, f"{page.name}#{path}")
                elif path in MODULES and short in thing.__all__ and getattr(thing, short) is meant:
                    described = inspect.isclass(meant) or inspect.isfunction(meant)
                    within.setdefault(name, f"{page.name}#{path}.{short}" if described else page.name)
    return within | alone


def _says(module: ModuleType, name: str) -> str:
    """First line of a docstring; of a type alias or a constant none."""
    if name in CATALOGUES:
        return CATALOGUES[name]
    thing = getattr(module, name)
    if not (inspect.isclass(thing) or inspect.isfunction(thing)):
        return "Type of an argument, or a constant."
    doc = (inspect.getdoc(thing) or "").split("\n\n", 1)[0].replace("\n", " ").replace("``", "`")
    # A bar ends a cell, in code too, and a backslash before it would be shown there.
    return re.sub(r"`([^`]*\|[^`]*)`", lambda code: f"<code>{html.escape(code[1]).replace('|', '&#124;')}</code>", doc)


def page() -> str:
    """The page."""
    names, places = public(), _places()
    parts = [INTRODUCTION]
    for task, (shown, listed) in TASKS.items():
        lines, short = ["| Name | Meaning |", "|---|---|"], list[str]()
        for known in listed.split():
            module, name = names[known], known.rsplit(".", 1)[-1]
            full = name if module.__name__ == "tieless" else f"{module.__name__.removeprefix('tieless.')}.{name}"
            place = places.get(known)
            short.append(f"[`{full}`]({place})" if place else f"`{full}`")
            lines.append(f"| {short[-1]} | {_says(module, name)} |")
        parts += [
            f"## {task}\n\nWorked page: {shown}.\n\n{' '.join(short)}\n",
            '<details markdown="1">\n<summary>What each is</summary>\n',
            "\n".join(lines) + "\n\n</details>\n",
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Wrote {PAGE.name}: {len(public())} names.")
