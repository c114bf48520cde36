"""Schema of a study file, as pydantic models, and the messages for what it refuses."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tieless._yaml import Document, Path
from tieless.errors import TielessError
from tieless.study.claims import Claim, parse_claim
from tieless.study.settings import spelling

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_T = TypeVar("_T")
_ModelT = TypeVar("_ModelT", bound=BaseModel)


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]  # pyright: ignore[reportUnknownVariableType]


_RANGE = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_MOST_IN_A_RANGE = 100_000


def _ranges(value: object) -> object:
    """List with each text ``0..9`` in the place of the integers that it means."""
    given = cast("list[object]", value) if isinstance(value, list) else [value]
    found: list[object] = []
    for one in given:
        match = _RANGE.fullmatch(one) if isinstance(one, str) else None
        if match is None:
            found.append(one)
            continue
        first, last = int(match[1]), int(match[2])
        if not 0 <= last - first < _MOST_IN_A_RANGE:
            raise ValueError(f"{one!r} is no range from a smaller to a larger number, of {_MOST_IN_A_RANGE} at most")
        found.extend(range(first, last + 1))
    return found


def _no_repeats(values: list[_T]) -> list[_T]:
    for i, value in enumerate(values):
        if value in values[:i]:
            raise ValueError(f"{value!r} is given twice")
    return values


_Axis = Annotated[list[_T], BeforeValidator(_as_list), Field(min_length=1), AfterValidator(_no_repeats)]
"""Axis; a scalar is an axis of one value."""

_Seeds = Annotated[_Axis[Annotated[int, Field(ge=0, lt=2**63)]], BeforeValidator(_ranges)]


def _spec(read: Callable[[str], str]) -> AfterValidator:
    """Validator that reports what ``read`` refuses, whatever its class, as the error of the field."""

    def check(text: str) -> str:
        try:
            return read(text)
        except TielessError as error:
            cut = text.count("(") > text.count(")")
            hint = " Within [ ], put a spec that has a comma in quotes." if cut else ""
            raise ValueError(f"{error}{hint}") from None

    return AfterValidator(check)


def _axis(expected: str) -> Any:
    return Field(default_factory=list, description=expected)


def _compiler(given: Any) -> Any:
    """``true`` and ``false`` of YAML, as the names that they stand for."""
    return {True: "inductor", False: "no"}[given] if isinstance(given, bool) else given


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class GridModel(_Model):
    """Axes by the names of ``Trial``'s fields. Only ``seeds`` is plural: seeds repeat a cell and make no new one.

    A description says what a field expects, and is what an error prints.
    """

    data: _Axis[Annotated[str, _spec(spelling.data)]] = _axis("a data set, such as fashion-mnist")
    subset: _Axis[Annotated[int, Field(ge=1)] | None] = _axis("an integer >= 1, or null for all samples")
    augment: _Axis[Annotated[str, _spec(spelling.augment)]] = _axis("augmentations, such as shift(2) >> flip")
    model: _Axis[Annotated[str, _spec(spelling.model)]] = _axis("a model, such as lenet5")
    forward: _Axis[Annotated[str, _spec(spelling.forward)]] = _axis("a forward, such as relu")
    backward: _Axis[Annotated[str, _spec(spelling.rule)]] = _axis("a rule, such as full_jam")
    init: _Axis[Annotated[str, _spec(spelling.init)]] = _axis("initial weights, such as gain_matched")
    weights: _Axis[Annotated[str, _spec(spelling.weights)]] = _axis("a kind of weights, such as binary")
    feedback: _Axis[Annotated[str, _spec(spelling.feedback)]] = _axis("a kind of feedback weights, such as fa")
    loss: _Axis[Annotated[str, _spec(spelling.loss)]] = _axis("a loss, such as cross_entropy")
    metric: _Axis[Annotated[str, _spec(spelling.metric)]] = _axis("a metric, such as accuracy")
    optimiser: _Axis[Annotated[str, _spec(spelling.optimiser)]] = _axis("an optimiser, such as adam")
    learning_rate: _Axis[Annotated[float, Field(gt=0, allow_inf_nan=False)]] = _axis("a finite number > 0")
    schedule: _Axis[Annotated[str, _spec(spelling.schedule)]] = _axis("a schedule, such as cosine")
    validation: _Axis[Annotated[float, Field(gt=0, lt=1)] | None] = _axis("a number above 0 to below 1, or null")
    test: _Axis[Annotated[str, _spec(spelling.test)]] = _axis("each-epoch, once or never")
    batch: _Axis[Annotated[int, Field(ge=1)]] = _axis("an integer >= 1")
    epochs: _Axis[Annotated[int, Field(ge=1)]] = _axis("an integer >= 1")
    seeds: _Seeds = _axis("an integer >= 0, or a range such as 0..9")
    device: _Axis[Annotated[str, _spec(spelling.device)]] = _axis("a torch device, such as cpu")
    monitor: _Axis[Annotated[int, Field(ge=0)]] = _axis("steps between two measurements, an integer >= 0")
    compile: _Axis[Annotated[str, BeforeValidator(_compiler), _spec(spelling.compiler)]] = _axis("true or false")
    denormals: _Axis[Annotated[str, _spec(spelling.denormals)]] = _axis("kept or flushed")

    def given(self) -> dict[str, list[Any]]:
        """Axes that were written, in the order of the fields."""
        return {name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set}


def _two_ascending(values: list[float]) -> list[float]:
    if len(values) != 2 or values[0] >= values[1]:
        raise ValueError(f"expected two rates, the lower first, such as [1e-5, 1], got {values}")
    return values


class ChooseModel(_Model):
    """Settings by which learning rates are chosen."""

    validation: Annotated[float, Field(gt=0, lt=1)] = Field(description="a number above 0 to below 1")
    seeds: _Seeds = Field(description="an integer >= 0, a list of them, or a range such as 0..9")
    epochs: Annotated[int, Field(ge=1)] | None = Field(default=None, description="an integer >= 1")
    confirm: bool = Field(default=False, description="true or false")
    extend: (
        Annotated[_Axis[Annotated[float, Field(gt=0, allow_inf_nan=False)]], AfterValidator(_two_ascending)] | None
    ) = Field(default=None, description="the lowest and the highest rate that may be tried, such as [1e-5, 1]")


def _as_claim(value: object) -> object:
    return {"says": value} if isinstance(value, str) else value


def _claim(text: str) -> str:
    try:
        parse_claim(text)
    except TielessError as error:
        raise ValueError(str(error)) from None
    return text


class ClaimModel(_Model):
    """Claim: a sentence, or a sentence with a label."""

    says: Annotated[str, AfterValidator(_claim)] = Field(description="a sentence: a claim")
    label: str = Field(default="", description="a few words of text")

    def claim(self) -> Claim:
        return parse_claim(self.says, " ".join(self.label.split()))


class StudyModel(_Model):
    """Whole study file."""

    title: str = Field(min_length=1, description="a line of text")
    question: str = Field(min_length=1, description="a sentence or a paragraph: what the study asks")
    table: str | None = Field(default=None, description="which table of the paper this repeats")
    core_hours: float = Field(
        default=0.0, ge=0, allow_inf_nan=False, description="hours that the whole grid takes on one core"
    )
    grid: GridModel = Field(description="names of a trial's fields, each with a value or a list")
    blocks: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")], GridModel] = Field(
        default_factory=dict, description="block names, each with fields that differ from the grid's"
    )
    exclude: list[GridModel] = Field(default_factory=list, description="a list of {field: value} that drop cells")
    fallback: GridModel | None = Field(default=None, description="fields to use where the data cannot be had")
    imports: _Axis[str] = Field(default_factory=list, description="files of code that it needs, such as mynet.py")
    checkpoint: Literal["epochs"] | None = Field(default=None, description="epochs, or null for none")
    choose: ChooseModel | None = Field(default=None, description="validation and seeds, by which rates are chosen")
    claims: list[Annotated[ClaimModel, BeforeValidator(_as_claim)]] = Field(
        default_factory=list, description="a list of sentences: full_jam is non-inferior to tied by 1 point for relu"
    )


_INNER: dict[str, type[BaseModel]] = {
    **dict.fromkeys(("grid", "blocks", "exclude", "fallback"), GridModel),
    "choose": ChooseModel,
    "claims": ClaimModel,
}
"""Models of the keys within a key of a study."""


def _expectation(model: type[BaseModel], path: Path) -> str | None:
    """Description of the innermost field on ``path``."""
    found = None
    for part in path:
        if isinstance(part, str) and part in model.model_fields:
            found = model.model_fields[part].description
            model = _INNER.get(part, model)
    return found


def _known_keys(model: type[BaseModel], path: Path) -> list[str]:
    return list((model if len(path) == 1 else _INNER[str(path[0])]).model_fields)


def _shown(value: object) -> str:
    text = "true" if value is True else "false" if value is False else "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _unknown_key(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    near = ["seeds"] if key == "seed" else near
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
    return f"unknown key; {hint}"


def _problem(model: type[BaseModel], details: ErrorDetails) -> str:
    path, kind = details["loc"], details["type"]
    if kind == "extra_forbidden":
        return _unknown_key(str(path[-1]), _known_keys(model, path))
    if kind == "missing":
        return f"missing; expected {_expectation(model, path)}"
    if kind == "value_error":
        return str(details.get("ctx", {}).get("error", details["msg"])).rstrip(".")
    if path[-1] == "[key]":
        return "expected a name of lower-case letters, digits, '-' and '_'"
    if kind == "too_short":
        return "expected at least one value, got an empty list"
    return f"expected {_expectation(model, path)}, got {_shown(details['input'])}"


def _as_written(path: Path, value: Any) -> Path:
    """``path`` without the index that comes from reading a scalar as a list of one."""
    for depth, part in enumerate(path):
        if isinstance(value, dict) and part in value:
            value = cast("dict[Any, Any]", value)[part]
        elif isinstance(value, list) and isinstance(part, int):
            value = cast("list[Any]", value)[part]
        elif isinstance(part, int):
            return (*path[:depth], *path[depth + 1 :])
    return path


def validate(model: type[_ModelT], document: Document) -> _ModelT:
    """Read a document as ``model``.

    Raises:
        StudyError: the first problem: its line, the expected value and the given one.
    """
    try:
        return model.model_validate(document.value)
    except ValidationError as error:
        located = [(_as_written(d["loc"], document.value), d) for d in error.errors()]
        path, details = min(located, key=lambda pair: (document.line(pair[0]), str(pair[0])))
        problem = _problem(model, details)
        path = path[:-1] if path[-1] == "[key]" else path
        raise document.error(path, problem) from None
