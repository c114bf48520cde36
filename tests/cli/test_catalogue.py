"""The lists of rules and forwards: each name, as it is written, with what it keeps and does."""

import re

import pytest
import torch
from click.testing import CliRunner

import tieless
from tieless.cli import main
from tieless.cli.catalogue import spec_of
from tieless.errors import UntrainableError
from tieless.forwards.advice import TASKS
from tieless.rules.catalogue import FAMILIES, bits_kept, by_family, sections


def printed(*words):
    result = CliRunner().invoke(main, list(words), env={"COLUMNS": "400"})
    assert result.exit_code == 0
    return result.output.splitlines()


def test_every_forward_is_listed_with_its_spec_and_summary():
    header, *lines = printed("forwards")
    assert header.split() == ["spec", "what", "it", "does"]
    assert [re.split(r"[ (]", line)[0] for line in lines] == list(tieless.forwards())
    for line, cls in zip(lines, tieless.forwards().values(), strict=True):
        assert line.rstrip().endswith((cls.__doc__ or "").split("\n")[0].replace("``", ""))


def test_every_rule_is_listed_under_its_family_with_its_spec_bits_and_summary():
    seen = {}
    title = None
    for line in printed("rules"):
        if line.strip() in FAMILIES.values():
            title = line.strip()
        elif title and line.strip() and line.split() != ["spec", "bits", "what", "it", "does"]:
            name = re.split(r"[ (]", line)[0]
            seen[name] = title
            cls = tieless.rules()[name]
            assert line.rstrip().endswith((cls.__doc__ or "").split("\n")[0].replace("``", ""))
            assert re.search(rf" {re.escape(bits_kept(cls))} ", line)
    assert seen == {cls.name: title for title, classes in by_family().items() for cls in classes}
    assert seen.keys() == tieless.rules().keys()


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("atan", "32"),
        ("centralize", "0"),
        ("clip", "0"),
        ("constant", "0"),
        ("drop", "0"),
        ("few_bit", "0-4"),
        ("frozen", "0"),
        ("full_jam", "0"),
        ("gated", "0-1"),
        ("leaky_relu", "1"),
        ("positive_jam", "1"),
        ("quantize", "0"),
        ("rectangular", "1"),
        ("regelu2", "2"),
        ("rotate", "0"),
        ("s2nn", "32"),
        ("stochastic_spike", "1"),
        ("swish_sign", "32"),
        ("tied", "0-32"),
    ],
)
def test_bits_by_hand(name, bits):
    assert bits_kept(tieless.rules()[name]) == bits


def test_a_rule_that_nobody_here_knows_is_listed_too():
    @tieless.register_rule
    def mine(z, width: float, side: str):
        """Something."""
        return torch.ones_like(z)

    assert bits_kept(mine) == "?"  # which side there is, nobody can guess
    assert "mine(width, side)" in "".join(printed("rules"))


def test_a_spec_that_is_listed_can_be_used():
    output = "\n".join(printed("rules"))
    specs = re.findall(r"^(\w+\(.*?\)) {2,}", output, re.MULTILINE)
    assert "rectangular(low=-0.5, high=0.5, height=1)" in specs
    complete = [spec for spec in specs if not re.search(r"[(,] ?\w+[,)]", spec)]
    assert len(complete) >= 5
    for spec in complete:
        assert tieless.rule(spec)


def test_brackets_in_a_docstring_are_not_taken_for_markup():
    output = "\n".join(printed("forwards"))
    for cls in tieless.forwards().values():
        assert (cls.__doc__ or "").split("\n")[0].replace("``", "") in output


@pytest.mark.parametrize("name", tieless.rules())
def test_one_rule_is_told_as_its_class_describes_it(name):
    cls = tieless.rules()[name]
    lines = printed("rules", name)
    assert lines[0] == name
    facts = dict(line.split(": ", 1) for line in lines if re.match(r"(spec|bits|cost|source|when to use it): ", line))
    assert facts.keys() == {"spec", "bits", "cost", "source", "when to use it"}
    assert (facts["spec"], facts["bits"]) == (spec_of(cls), bits_kept(cls))
    assert facts["source"] == " ".join(sections(cls)["Source"].replace("`", "").split())
    assert sections(cls)[""].split("\n")[0].replace("`", "") in lines[1]


def test_of_a_chain_each_rule_is_told():
    lines = printed("rules", "rectangular(-1, 1) >> noise(0.1)")
    assert [line for line in lines if line in tieless.rules()] == ["rectangular", "noise"]


@pytest.mark.parametrize("words", [["atan"], ["rotate"], ["tied", "--forward", "gelu"], ["atan(0.2) >> full_jam"]])
def test_a_plot_is_drawn(tmp_path, words):
    target = tmp_path / "plot.svg"
    lines = printed("rules", *words, "--plot", str(target))
    assert lines[-1].startswith("Drawn: ")
    assert target.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["atam"], "Unknown rule 'atam'. Did you mean 'atan'?"),
        (["atan(0)"], "atan needs width > 0"),
        (["--for", "spikng"], "A task is one of: steps, spiking, binary, memory, study."),
        (["--for", "identity"], "What others call 'identity' is 'linear' here."),
        (["atan", "--for", "spiking"], "--for stands alone"),
        (["--plot", "plot.svg"], "need the NAME of a rule"),
        (["atan", "--forward", "sign"], "--forward is for --plot FILE."),
        (["atan", "--plot", "plot.pdf"], "A plot is written as .svg or .png, got 'plot.pdf'."),
        (["atan", "--plot", "missing/plot.svg"], "Cannot write missing/plot.svg: No such file or directory."),
        (["tied", "--forward", "sign", "--plot", "plot.svg"], "flat almost everywhere"),
    ],
)
def test_what_cannot_be_told_or_drawn_is_said_in_one_line(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["rules", *words])
    assert result.exit_code == 2
    assert message in result.output.splitlines()[-1]
    assert "Traceback" not in result.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("given", "name"), [("relu", "relu"), ("staircase(4)", "staircase"), ("elu", "elu")])
def test_a_forward_is_described_by_its_name_or_a_spec(given, name):
    first, summary, *_, spec = printed("forwards", given)
    assert first == name
    assert summary
    assert spec.startswith(f"spec: {name}")
    assert ">>>" not in "\n".join(printed("forwards", given))


@pytest.mark.parametrize("name", dict.fromkeys(task.name for task in TASKS))
def test_the_rules_of_a_task_are_those_of_the_table(name):
    lines = printed("rules", "--for", name)
    tasks = [task for task in TASKS if task.name == name]
    assert [line for line in lines if line.startswith("For ")] == [
        f"For {task.network}{f', with the forward {task.forward}' if task.forward else ''}" for task in tasks
    ]
    specs = [advice.spec for task in tasks for advice in task.rules]
    assert [line.split("  ")[0] for line in lines if line.split("  ")[0] in specs] == specs
    assert "](" not in "".join(lines)


@pytest.mark.parametrize("name", ["heaviside", "sign", "staircase(4)", "gelu", "tanh", "round"])
def test_the_rules_for_a_forward_are_those_that_its_error_names(name):
    """And of one with a derivative, the derivative and one that stores less."""
    output = "\n".join(printed("rules", "--for", name))
    if tieless.forwards.forward(name).derivative() is None:
        with pytest.raises(UntrainableError) as refused:
            tieless.Activation(name, "tied")
        named = re.findall(r"'([^']+)' \(", str(refused.value))
        assert len(named) == 2
        assert all(spec in output for spec in named)
    else:
        assert "few_bit(2)" in output
