"""Values that can be stored: one training run (``Trial``) and its result (``Result``)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from operator import attrgetter
from typing import Any, Literal, NamedTuple, Protocol, cast

from tieless.diagnose import AlignmentRow
from tieless.errors import StudyError
from tieless.rules import rule_schedule
from tieless.study.settings import spelling
from tieless.study.settings.metrics import ACCURACY, Scale, scale_of

MEANING = 1
"""Version of the computation of the training code. Raise it when the same trial would give other numbers: every id
changes with it, so a store never mixes results of two meanings."""

Status = Literal["done", "diverged", "failed"]
Samples = Literal["test", "validation"]

SPELLINGS = {
    "data": spelling.data,
    "model": spelling.model,
    "forward": spelling.forward,
    "backward": spelling.rule,
    "loss": spelling.loss,
    "metric": spelling.metric,
    "optimiser": spelling.optimiser,
    "device": spelling.device,
    "init": spelling.init,
    "weights": spelling.weights,
    "feedback": spelling.feedback,
    "schedule": spelling.schedule,
    "augment": spelling.augment,
    "test": spelling.test,
    "denormals": spelling.denormals,
    "compile": spelling.compiler,
}
"""Fields that are specs, and the functions that normalise them."""
DEFAULTS_OF_LATER_FIELDS: dict[str, Any] = {
    "weights": "float",
    "feedback": "tied",
    "schedule": "constant",
    "augment": "none",
    "monitor": 0,
    "validation": None,
    "test": "each-epoch",
    "denormals": "kept",
    "sources": "",
    "metric": ACCURACY,
    "init": "default",
    "compile": "no",
}
"""Fields that came after the first stores were written. At these values they have no part in the id, which stays what it was."""

_COUNTS = {"subset": 1, "batch": 1, "epochs": 1, "seed": 0, "monitor": 0}


class BackwardPass(NamedTuple):
    """Rule and feedback weights, as specs; as text ``tied``, or ``tied through fa`` if the weights are not the layers' own."""

    rule: str
    feedback: str = "tied"

    def __str__(self) -> str:
        return self.rule if self.feedback == "tied" else f"{self.rule} through {self.feedback}"


# No slots: the id is kept once it is known. A study of thousands of trials asks for each many times.
@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training run. Two trials with equal fields are the same trial; ``id`` is the hash of them.

    Specs are kept in one spelling: ``"rectangular(-1.0,1)"`` and ``"rectangular(-1, 1)"`` make one trial.

    Args:
        data: Spec of a data set: ``"fashion-mnist"``, ``"digits"``, ``"ones(d=10, tau=0.5)"``, ``"brown(64)"``.
        subset: Number of training samples, drawn by ``seed``; ``None`` takes all.
        augment: Spec of the augmentations of the training images, drawn anew in each epoch: ``"none"``, ``"shift(2) >>
            flip"``.
        model: Spec of a model: ``"lenet5"``, ``"lenet5(norm=true)"``, ``"mlp(width=64, depth=2)"``, ``"suc"``.
        forward, backward: Specs of the two halves of every activation in the model.
        weights: Spec of the weights of all layers but the first and the last: ``"float"`` leaves the model as it is,
            ``"binary"``, ``"ternary"`` and ``"k_bit(4)"`` quantise it.
        feedback: Spec of the weights that carry the feedback (the incoming gradient, ``grad_output``) through linear
            layers and convolutions: ``"tied"``, their own; ``"fa"``, ``"dfa"``, ``"usf"``, ``"brsf"`` and ``"frsf"``
            (feedback alignment), others that follow from ``seed``.
        loss: Name of the loss: ``"cross_entropy"``, ``"bce"``, ``"mse"``, ``"l1"``, ``"huber"``, or one of your own.
        optimiser: Spec of the optimiser: ``"sgd"``, ``"momentum"`` (0.9), ``"adam"``, ``"adam(weight_decay=0.01)"``,
            ``"direction_first"`` or ``"bop(1e-8, 1e-4)"``.
        learning_rate: Learning rate of the optimiser.
        schedule: Spec of the learning-rate schedule: ``"constant"``, ``"cosine"``, ``"linear(warmup=0.1)"``.
        validation: Fraction of the training samples that is held out, drawn by ``seed``, above 0 to below 1, and
            evaluated after each epoch; ``None`` trains on all.
        test: Name that says when the test samples are evaluated: ``"each-epoch"``, ``"once"``, after the last, or
            ``"never"``, which needs a ``validation``.
        batch: Number of samples per update.
        epochs: Number of passes over the training samples.
        seed: Seed of the initial weights, the order of the samples, the subset, augmentations, feedback weights and
            every random slope.
        device: Device: ``"cpu"`` or a torch device such as ``"cuda"``.
        monitor: Number of updates from one measurement of the alignment to the next; 0 measures none. It does not
            affect the training.
        denormals: Treatment on a CPU of numbers below 1.2e-38, which take it many times longer than others: ``"kept"``,
            or ``"flushed"`` to 0. PyTorch flushes those of the calling thread alone, so that such a run takes one
            thread.
        compile: Name of the compiler of the network, for ``torch.compile``: ``"no"``, or ``"inductor"``. Fused arithmetic
            rounds otherwise, so it is another trial.
        sources: Code and data of the user's own that the run relies on, each with the beginning of its SHA-256:
            ``"mynet 1a2b3c4d5e6f7a8b"``. Changed code makes another trial.
        metric: Name of the metric by which the run is judged: ``"accuracy"``, ``"macro_f1"``, ``"mse"``, ``"mae"``, ``"r2"``,
            or one of your own.
        init: Spec of the initial weights of linear layers and convolutions: ``"default"``, as the model makes them,
            ``"gain_matched"``, ``"orthogonal"`` or ``"normal(gain=4, center=0.5)"``.
    Raises:
        SpecError, RuleValueError, RuleTypeError: a spec is not valid.
        StudyError: another field is out of range or of the wrong type.
    Example:
        >>> from tieless.study import load_study
        >>> trial = load_study("quickstart").trials[0]
        >>> trial.forward, trial.backward, trial.seed
        ('relu', 'tied', 0)
    """

    data: str
    subset: int | None = None
    augment: str = "none"
    model: str
    forward: str
    backward: str
    weights: str = "float"
    feedback: str = "tied"
    loss: str = "cross_entropy"
    optimiser: str
    learning_rate: float
    schedule: str = "constant"
    validation: float | None = None
    test: str = "each-epoch"
    batch: int
    epochs: int
    seed: int
    device: str = "cpu"
    monitor: int = 0
    denormals: str = "kept"
    sources: str = ""
    metric: str = ACCURACY
    init: str = "default"
    compile: str = "no"

    def __post_init__(self) -> None:
        for name, write in SPELLINGS.items():
            object.__setattr__(self, name, write(getattr(self, name)))
        for name, lowest in _COUNTS.items():
            value = getattr(self, name)
            if name == "subset" and value is None:
                continue
            if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
                raise StudyError(f"Trial: {name} must be an integer >= {lowest}, got {value!r}.")
        rate = cast("object", self.learning_rate)
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < math.inf:
            raise StudyError(f"Trial: learning_rate must be a finite number > 0, got {rate!r}.")
        object.__setattr__(self, "learning_rate", float(rate))
        part = cast("object", self.validation)
        if part is not None and (not isinstance(part, float) or not 0 < part < 1):
            raise StudyError(f"Trial: validation must be a number above 0 to below 1, or None, got {part!r}.")
        if self.test == "never" and part is None:
            raise StudyError("Trial: a run that is never tested needs a validation part to be judged by.")
        if self.compile != "no" and rule_schedule(self.backward) is not None:
            raise StudyError(f"Trial: compile needs a rule that stays the same, got {self.backward!r}.")

    @cached_property
    def id(self) -> str:
        """Hash of ``MEANING`` and of all fields that change what is computed: 16 hexadecimal digits."""
        named = {
            name: value
            for name, value in self.to_dict().items()
            if name not in DEFAULTS_OF_LATER_FIELDS or value != DEFAULTS_OF_LATER_FIELDS[name]
        }
        text = json.dumps({"meaning": MEANING, **named}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def scale(self) -> Scale:
        """Direction and unit of the metric.

        Raises:
            StudyError: the metric is not registered.
        """
        return scale_of(self.metric)

    @property
    def backward_pass(self) -> BackwardPass:
        """Rule and feedback weights of the run."""
        return BackwardPass(self.backward, self.feedback)

    @cached_property
    def cell(self) -> tuple[Any, ...]:
        """Values of all fields but the seed, equal for the trials that repeat it under other seeds."""
        return _cell_of(self)

    def with_seed(self, seed: int, *, known_id: str | None = None) -> Trial:
        """The trial with another seed. Its other fields are not checked again, and the two share their values."""
        if seed == self.seed and known_id is None:
            return self
        _ = self._cell_hash  # Computed once, for both.
        trial = object.__new__(Trial)
        values = trial.__dict__
        values.update(self.__dict__)
        values["seed"] = seed
        if known_id is not None:
            values["id"] = known_id
        else:
            values.pop("id", None)
        return trial

    def to_dict(self) -> dict[str, Any]:
        # Plain values all: asdict would copy each, which takes most of the time with a large store.
        return dict(zip(FIELDS, _values_of(self), strict=True))

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        return self.seed == other.seed and self.cell == other.cell if isinstance(other, Trial) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.seed, self._cell_hash))

    @cached_property
    def _cell_hash(self) -> int:
        return hash(self.cell)

    def __getstate__(self) -> dict[str, Any]:
        # Each process hashes text otherwise, and the cell repeats the fields.
        return {name: value for name, value in self.__dict__.items() if name not in {"_cell_hash", "cell"}}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], *, known_id: str | None = None) -> Trial:
        """Trial from a dictionary of ``to_dict``, unchecked: a store stays readable if a rule is not registered.

        Args:
            record: Dictionary.
            known_id: Id of the trial, where it need not be computed.
        """
        trial = object.__new__(cls)
        if set(record) != _FIELD_SET:
            values = {**DEFAULTS_OF_LATER_FIELDS, **record}
            record = {name: values[name] for name in FIELDS}
        trial.__dict__.update(record)
        if known_id is not None:
            trial.__dict__["id"] = known_id
        return trial


FIELDS = tuple(f.name for f in fields(Trial))
"""Names of the fields of a trial."""
_FIELD_SET = set(FIELDS)
_values_of = attrgetter(*FIELDS)
_cell_of = attrgetter(*(name for name in FIELDS if name != "seed"))


@dataclass(frozen=True, slots=True)
class EpochRecord:
    """Figures of one epoch. Accuracies are fractions of the labels; train figures are averages over its updates.

    ``None`` if the trial did not evaluate the test samples or the validation samples. Numbers to predict have no
    accuracy, NaN in training; metrics are there if the trial's is not the accuracy.
    """

    train_loss: float
    train_accuracy: float
    test_loss: float | None
    test_accuracy: float | None
    seconds: float
    validation_loss: float | None = None
    validation_accuracy: float | None = None
    test_metric: float | None = None
    validation_metric: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Result of a trial.

    Args:
        trial: Trial that ran.
        status: Status: ``"done"``; ``"diverged"``: a loss was not finite, which is a result; ``"failed"``: it raised an
            error.
        epochs: Records, one for each finished epoch; a diverged trial keeps those before.
        predicted_classes: Number of distinct classes among the predictions on the test set after the last finished
            epoch, or on the validation samples of a run that is never tested; 1 if the network predicts a single class.
            ``None`` if no epoch was finished.
        classes: Number of classes of the data set; ``None`` if it has numbers to predict.
        test_samples: Number of labels of its test set, of which an accuracy is a fraction; ``None`` if the data were
            not read, and in results of earlier versions.
        error: Reason of a failure, one line; ``None`` otherwise.
        seconds: Wall time of the whole trial.
        started: UTC time at the start, ISO 8601.
        versions: Versions of python, torch, numba, numpy and tieless.
        hardware: Machine as ``{"device": ..., "processor": ..., "threads": ...}``.
        alignments: Measurements of the monitor, if the trial has one, up to the last epoch that began.
        chance: Value of the metric as which the run counts if it diverged; ``None`` for the accuracy, whose is 1 over
            the number of classes.
    Example:
        >>> from tieless.study import EpochRecord, Result, load_study
        >>> epoch = EpochRecord(train_loss=2.3, train_accuracy=0.1, test_loss=2.3, test_accuracy=0.1, seconds=1.0)
        >>> trial = load_study("quickstart").trials[0]
        >>> result = Result(trial=trial, status="done", epochs=(epoch,), predicted_classes=1, classes=10)
        >>> result.epochs[-1].test_accuracy, result.one_class
        (0.1, True)
    """

    trial: Trial
    status: Status
    epochs: tuple[EpochRecord, ...] = ()
    predicted_classes: int | None = None
    classes: int | None = None
    test_samples: int | None = None
    error: str | None = None
    seconds: float = 0.0
    started: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, str] = field(default_factory=dict)
    alignments: tuple[AlignmentRow, ...] = ()
    chance: float | None = None

    @property
    def one_class(self) -> bool:
        """True if the network predicts a single class. A diverged network does not count, whatever it did before."""
        return self.status == "done" and self.predicted_classes == 1

    def to_dict(self) -> dict[str, Any]:
        plain = self.trial.metric == ACCURACY
        names = [name for name in _EPOCH_FIELDS if not (plain and name.endswith("_metric"))]
        return {
            **{name: getattr(self, name) for name in _RESULT_FIELDS if not (plain and name == "chance")},
            "trial": self.trial.to_dict(),
            "epochs": tuple({name: getattr(epoch, name) for name in names} for epoch in self.epochs),
            "versions": dict(self.versions),
            "hardware": dict(self.hardware),
            "alignments": tuple(asdict(row) for row in self.alignments),
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], *, known_id: str | None = None) -> Result:
        """Result from a dictionary of ``to_dict``; ``known_id`` is that of its trial, as ``Trial.from_dict`` takes it."""
        # These came after the first stores were written.
        given: dict[str, Any] = {"alignments": (), "test_samples": None, "chance": None, **record}
        values: dict[str, Any] = {name: given[name] for name in _RESULT_FIELDS}
        values["alignments"] = tuple([AlignmentRow(**row) for row in values["alignments"]])
        values["trial"] = Trial.from_dict(record["trial"], known_id=known_id)
        values["epochs"] = tuple([EpochRecord(**epoch) for epoch in record["epochs"]])
        return cls(**values)


_RESULT_FIELDS = tuple(f.name for f in fields(Result))
_EPOCH_FIELDS = tuple(f.name for f in fields(EpochRecord))


class _Run(Protocol):
    """Run that has ended, as a store or a report records it."""

    @property
    def status(self) -> Status: ...


def count(status: Status, runs: Iterable[_Run]) -> int:
    """Number of the runs that ended with a status."""
    return sum(run.status == status for run in runs)


def measured(trial: Trial, epoch: EpochRecord, samples: Samples = "test") -> float | None:
    """Metric of a trial after an epoch; ``None`` if it did not evaluate these samples."""
    if trial.metric == ACCURACY:
        return epoch.test_accuracy if samples == "test" else epoch.validation_accuracy
    return epoch.test_metric if samples == "test" else epoch.validation_metric


def outcome(result: Result, samples: Samples = "test") -> float | None:
    """Value of the metric with which a run counts: the last one on these samples; the chance level if it diverged.

    Returns:
        Value, or ``None`` for a run that raised an error, which says nothing about the rule, or that never
        evaluated these samples.
    """
    if result.status == "diverged":
        return result.chance if result.trial.metric != ACCURACY else 1 / result.classes if result.classes else None
    if result.status == "failed" or not result.epochs:
        return None
    return measured(result.trial, result.epochs[-1], samples)
