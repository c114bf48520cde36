"""The studies that come with the package, and what is made sure of before a run."""

import sys
from pathlib import Path

import pytest

from tieless import data
from tieless.errors import DataError, StudyError, TielessError
from tieless.study import foresee, load_study, network, shipped

PAPER = {
    "suc-ones",
    "mlp-digits",
    "lenet5-rectangular",
    "lenet5-jamming",
    "lenet5-claims",
    "bnn-suc",
    "heaviside",
    "bnn",
}


BEYOND = ("beyond/", "mechanism/", "zoo/")
"""Those that repeat nothing of the paper."""


def test_the_studies_are_those_of_the_paper_and_the_quickstart():
    assert [name for name in shipped() if not name.startswith(BEYOND)] == sorted(
        ["quickstart", *(f"paper/{name}" for name in PAPER)]
    )


@pytest.mark.parametrize("name", shipped())
def test_each_study_says_what_it_repeats_and_costs(name):
    study = load_study(name, check=False)
    assert all([study.title, study.question])
    assert bool(study.table) == name.startswith("paper/")
    assert study.core_hours > 0


@pytest.mark.parametrize("name", shipped())
def test_the_core_hours_are_those_of_the_epochs(name):
    # Seconds of one epoch on one core, to a factor: enough to notice a grid that grew without its estimate.
    seconds = {"suc": 0.015, "mlp(64, 1)": 0.014, "lenet5": 7, "bnn_lenet5": 16, "bnn_mlp(256, 2)": 10}
    seconds |= {
        "residual_cnn(64)": 135,
        "residual_cnn(64, bend=true)": 175,
        "snn_cnn(32, 4)": 125,
        "mlp(256, 2)": 2.5,
        'mlp(512, 3, norm="batch")': 5,
        'lenet5(norm="batch")': 12,
        "mlp(128, 20)": 12,
        "mlp(128, 50)": 30,
        'mlp(128, 20, norm="batch")': 16,
        "mlp(64, 2)": 0.3,
        "mlp(100, 2)": 1.8,
        "resnet(20, 8)": 89,
        "vit(32, 3)": 68,
        "snn_cnn(8, 4)": 22,
        "gru(64)": 36,
        "gpt(32, 3)": 47,
        "mlp(128, 2)": 0.04,
        "series_cnn(25)": 0.15,
        "series_gru(24)": 0.5,
        "series_cnn(25, channels=12)": 0.03,
        "series_gru(24, channels=12)": 0.15,
    }
    # Steps that take as long as the passes, or longer.
    slower = {"direction_first": 2}
    study = load_study(name, check=False)
    # Those that follow a choice: each cell at one of its rates.
    follow = {(study.choose.key(trial), trial.seed): trial for trial in study.asked}
    hours = sum(
        trial.epochs * seconds.get(trial.model, 5) * slower.get(trial.optimiser, 1) * (trial.subset or 60_000) / 60_000
        for trial in (*study.trials, *follow.values())
    ) / 3600  # fmt: skip
    assert study.core_hours / 2 < hours < study.core_hours * 2


@pytest.mark.parametrize("name", ["quickstart", "beyond/thesis-adam", "beyond/second-data", "beyond/fair-baselines"])
def test_it_has_seeds_enough_to_decide_its_claims(name):
    study = load_study(name, check=False)
    assert study.claims
    foreseen = foresee(study)
    assert len(foreseen) == len(study.claims)
    assert all(one.can_hold for one in foreseen)


def test_the_quickstart_has_no_seed_too_many():
    # Fewer could not: who makes it shorter has to take something else away.
    fewer = load_study("quickstart", ["seeds=[0,1,2,3]"], check=False)
    assert not any(one.can_hold for one in foresee(fewer))


def test_the_jamming_study_has_every_reading():
    trials = load_study("paper/lenet5-jamming", check=False).trials
    assert {trial.forward for trial in trials} == {"relu", "linear", "logistic"}
    assert {trial.backward for trial in trials} == {
        *("tied", "frozen", "constant(1)", "full_jam", "positive_jam", "rectangular_jam(-5, 5)"),
        *('positive_jam(gate="feedback")', 'rectangular_jam(-5, 5, gate="feedback")', 'full_jam(replace="magnitude")'),
    }
    assert {trial.optimiser for trial in trials} == {"sgd", "adam"}
    rates = {trial.learning_rate for trial in trials if (trial.forward, trial.optimiser) == ("logistic", "sgd")}
    assert 1.0 in rates


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(StudyError, match=r"Unknown study 'quikstart'\. Did you mean 'quickstart'\?.*paper/bnn"):
        load_study("quikstart")


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path):
    with pytest.raises(StudyError, match=r"Cannot read .*none\.yaml: No such file"):
        load_study(str(tmp_path / "none.yaml"))
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(StudyError, match=r"Cannot read .*folder\.yaml: Is a directory"):
        load_study(str(tmp_path / "folder.yaml"))
    (tmp_path / "bytes.yaml").write_bytes(b"title: \xff\xfe")
    with pytest.raises(StudyError, match=r"bytes\.yaml: it is not UTF-8"):
        load_study(str(tmp_path / "bytes.yaml"))


def test_a_file_of_ones_own_is_called_by_its_name(tmp_path):
    text = (Path(data.__file__).parents[1] / "studies" / "paper" / "suc-ones.yaml").read_text(encoding="utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    study = load_study(str(file))
    assert (study.name, study.run_as) == ("mine", str(file))
    assert study.trials == load_study("paper/suc-ones").trials


@pytest.mark.parametrize(
    ("override", "error", "message"),
    [
        ("subset=100000", StudyError, "^--set subset: subset must be 1 to 1600"),
        (
            "model=lenet5",
            StudyError,
            "^--set model: lenet5 needs images of 28 x 28, and the data has 10 numbers a sample",
        ),
        ("device=cuda:99", StudyError, "^--set device: The device cuda:99 cannot be used here"),
        ("optimiser=bop", StudyError, "^--set optimiser: No layer to quantise; the model has: unit"),
        (
            "weights=binary",
            StudyError,
            r"^--set weights: binary keeps the first and the last .*binary\(keep_ends=false\)",
        ),
    ],
)
def test_what_every_trial_would_fail_with_is_told_before_the_start(override, error, message):
    with pytest.raises(error, match=message):
        load_study("paper/suc-ones", [override])
    assert load_study("paper/suc-ones", [override], check=False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("subset: 100000", "subset must be 1 to 1437"),
        ("weights: binary", "binary keeps the first and the last layer in float, and the model has 2"),
        ("augment: flip", r"flip needs images, \(channels, height, width\), and the data has \(64,\)\.$"),
        ("device: cuda:99", "The device cuda:99 cannot be used here"),
        ("optimiser: bop", "No layer to quantise"),
        ("model: lenet5", "lenet5 needs images of 28 x 28"),
    ],
)
def test_it_is_told_where_in_the_file_that_is(tmp_path, line, message):
    field = line.partition(":")[0]
    written = {"model": "model: mlp(8, 1)", "optimiser": "optimiser: sgd", field: line}
    text = f"""\
title: T
question: Q?
core_hours: 0.1
grid:
  data: digits
  forward: relu
  backward: tied
  learning_rate: 0.1
  batch: 64
  epochs: 1
  seeds: [0]
  {written.pop(field)}
  {chr(10).join(f"  {one}" for one in written.values()).strip()}
"""
    file = tmp_path / "mine.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(StudyError, match=rf"mine\.yaml:12: grid\.{field}: {message}"):
        load_study(str(file))


def test_a_package_that_is_missing_is_told_before_the_start(monkeypatch):
    monkeypatch.setitem(sys.modules, "pytorch_optimizer", None)
    with pytest.raises(TielessError, match=r"pip install '\.\[study\]'"):
        load_study("paper/suc-ones", ["optimiser=lion"])


@pytest.fixture
def no_data_anywhere(monkeypatch, tmp_path):
    """A machine without Fashion-MNIST."""
    monkeypatch.delenv("TIELESS_DATA", raising=False)
    monkeypatch.setattr("tieless.study.file.library.is_available", lambda spec: spec != "fashion-mnist")
    monkeypatch.setattr("tieless.study.file.library.locate", lambda spec: None)


@pytest.mark.usefixtures("no_data_anywhere")
def test_missing_data_bring_the_fallback_and_its_reason():
    study = load_study("quickstart")
    assert {trial.data for trial in study.trials} == {"digits"}
    assert study.fallback == "fashion-mnist is not on this machine: get it with 'tieless data get fashion-mnist'."


@pytest.mark.usefixtures("no_data_anywhere")
def test_missing_data_without_a_fallback_are_an_error():
    with pytest.raises(DataError, match=r"^fashion-mnist is not on this machine: get it with"):
        load_study("paper/heaviside")


def test_unsound_data_never_bring_the_fallback(monkeypatch, tmp_path):
    for name in (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    ):
        (tmp_path / name).write_bytes(b"spoilt")
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="truncated"):
        load_study("quickstart")


def test_a_folder_that_was_named_and_is_empty_never_brings_the_fallback(monkeypatch, tmp_path):
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="is missing"):
        load_study("quickstart")


TOO_LARGE = """
title: Too large
question: Does the other cell run?
core_hours: 0.01
grid: {data: "ones(d=4, n=50)", model: ["mlp(8, 1)", "mlp(600000, 2)"], forward: relu, backward: tied, optimiser: sgd,
       learning_rate: 0.1, batch: 32, epochs: 1, seeds: [0]}
"""


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")], ids=repr)
def test_a_cell_that_memory_is_too_small_for_does_not_keep_the_others_from_running(tmp_path, monkeypatch, error):
    file = tmp_path / "large.yaml"
    file.write_text(TOO_LARGE, encoding="utf-8")
    build = network.build_model

    def build_small(model, *given, **options):
        if model == "mlp(600000, 2)":
            raise error
        return build(model, *given, **options)

    monkeypatch.setattr(network, "build_model", build_small)
    assert len(load_study(str(file)).trials) == 2


def test_another_error_of_a_cell_is_told_before_anything_runs(tmp_path, monkeypatch):
    file = tmp_path / "large.yaml"
    file.write_text(TOO_LARGE, encoding="utf-8")

    def refuse(*_, **__):
        raise RuntimeError("another")

    monkeypatch.setattr(network, "build_model", refuse)
    with pytest.raises(RuntimeError, match=r"^another$"):
        load_study(str(file))


def test_a_study_knows_where_it_was_read(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("large.yaml").write_text(TOO_LARGE, encoding="utf-8")
    assert load_study("large.yaml", check=False).source == str(tmp_path / "large.yaml")
    assert load_study("quickstart", check=False).source == "the package"
