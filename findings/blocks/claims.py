"""Blocks of claims: their verdicts, cell by cell."""

from __future__ import annotations

import re
from collections.abc import Sequence

from findings.blocks.markdown import NAMES, once, table
from findings.tables import NotRun, Row, cosine, dose, judged, runs, varied
from tieless._yaml import write_value
from tieless.errors import StudyError
from tieless.report import claim_words, words
from tieless.study import Claim, ClaimVerdict, parse_claim
from tieless.study.claims import FORMS
from tieless.study.settings import spelling

READINGS = {
    "constant(1)": "",
    "full_jam": "A and B",
    "positive_jam": "A",
    "rectangular_jam(-5, 5)": "A",
    'positive_jam(gate="feedback")': "B",
    'rectangular_jam(-5, 5, gate="feedback")': "B",
    'full_jam(replace="magnitude")': "C",
    'positive_jam(gate="feedback", replace="magnitude")': "C",
    'rectangular_jam(-5, 5, gate="feedback", replace="magnitude")': "C",
}
"""Reading of the paper's jams by rule; ``docs/concepts.md`` has the table."""

Judged = dict[str, list[Row]]
"""All comparisons that the pages show, by the name of their table: the index quotes them, and judges none itself."""


def verdicts(given: Sequence[str], _lines: Sequence[str], shown: Judged) -> str:
    """``verdicts NAME [LABEL]``: the claims of the study's file as one family, or those with a word in their label."""
    name, *labels = given
    # Claims are judged together, whatever is shown here.
    kept = [row for row in judged(name) if all(label in row.claim.label for label in labels)]
    if not kept:
        raise StudyError(f"No claim of {runs(name)[0].name} has the label {' '.join(labels)!r}.")
    return _verdict_table(name, kept, shown, labelled=True)


def counted(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``counted NAME``: the number of comparisons by verdict, for each claim of the study's file."""
    (name,) = given
    by_claim: dict[str, list[str]] = {}
    for row in judged(name):
        by_claim.setdefault(f"{row.claim.label}: {_claim(row.claim)}", []).append(row.verdict.verdict)
    kinds = ("holds", "does not hold", "undecided", "identical")
    body = [[claim, *(str(verdicts.count(kind)) for kind in kinds)] for claim, verdicts in by_claim.items()]
    family = sum(map(len, by_claim.values()))
    return (
        f"{table(['Claim', *kinds], body)}\n\nThe {family} comparisons share one error rate ([how](../statistics.md))."
    )


def matrix(given: Sequence[str], lines: Sequence[str], _shown: Judged) -> str:
    """``matrix [transposed]``, lines ``rule or rule ... | heading``, a column each, and ``label | table | field=value; ...``, a row each.

    A cell has the median difference of a rule in a setting, by the claims of the table's study, what that difference shows, and
    how many runs collapsed. ``FORWARD + RULE`` is the rule with that forward alone.
    """
    columns = [parts for parts in map(_parts, lines) if len(parts) == 2]
    body: list[list[str]] = []
    for label, name, conditions in (parts for parts in map(_parts, lines) if len(parts) == 3):
        wanted = dict(condition.strip().split("=", 1) for condition in conditions.split(";"))
        try:
            there = judged(name)
        except NotRun:
            body.append([label, *("not run yet" for _ in columns)])
            continue
        rows = [row for row in there if all(str(row.settings[key]) == value for key, value in wanted.items())]
        if not rows:
            raise StudyError(f"No claim of {name} is about {conditions}.")
        body.append([label, *(_matrix_cell(rows, rules) for rules, _ in columns)])
    rows = [["Setting", *(heading for _, heading in columns)], *body]
    head, *rows = map(list, zip(*rows, strict=True)) if given == ["transposed"] else rows
    return f"{table(head, rows)}\n\n{_MATRIX_KEY}"


_MATRIX_KEY = (
    "Median points of test accuracy beside the derivative, for Heaviside units beside `frozen`. {holds} shown to lose less than 1 point, with "
    "Logistic and random slopes less than 20, or to gain what its claim asks; {does not hold} shown to lose more, or to gain less; "
    "{undecided} not shown; {identical} the same runs, no evidence. (5/5): runs that collapsed. Marks are about the difference of a "
    "typical pair; the claim's verdict asks about collapses too ([how](../statistics.md))."
).format_map(claim_words.SYMBOLS)


def _parts(line: str) -> list[str]:
    return [part.strip() for part in line.split("|")]


def _matrix_cell(rows: Sequence[Row], rules: str) -> str:
    """Cell of the first of these rules that a claim compares with ``tied`` or ``frozen``."""
    for one in rules.split(" or "):
        *forward, rule = one.split(" + ")
        for row in rows:
            asked_of = not forward or [row.settings["forward"]] == forward
            if asked_of and row.claim.candidate == spelling.rule(rule) and row.claim.baseline in {"tied", "frozen"}:
                return _answer(row)
    return words.NOTHING


def _answer(row: Row) -> str:
    cell = row.verdict.cells[0]
    if cell.differences is None:
        return words.NOTHING
    answer = cell.verdict if cell.verdict == "identical" else cell.of_differences
    harmless = {"holds": "does not hold", "does not hold": "holds"}
    if row.claim.relation == "inferior to":
        answer = harmless.get(answer, answer)
    points = words.value(cell.differences.median, cell.metric, 2, signed=True)
    collapsed = f" ({cell.candidate.collapsed}/{cell.excess.n})" if cell.excess and cell.candidate.collapsed else ""
    return f"{points} {claim_words.SYMBOLS[answer]}{collapsed}"


def doses(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``doses NAME ...``: the dose up to which claims hold, for studies whose claims differ in a rising dose alone.

    The table has a column for each network and optimiser.
    """
    columns: dict[str, None] = {}
    body: list[tuple[str, dict[str, str]]] = []
    for name in given:
        groups: dict[str, list[Row]] = {}
        for row in judged(name):
            groups.setdefault(_where(row, ["model", "optimiser"]), []).append(row)
        columns.update(dict.fromkeys(groups))
        body.append((f"`{name}`", {where: _up_to(rows) for where, rows in groups.items()}))
    return table(["Manipulation", *columns], [[what, *(own.get(c, "") for c in columns)] for what, own in body])


def _up_to(rows: Sequence[Row]) -> str:
    """Last claim of rising doses up to which all hold, and first claim from which on none does."""
    strengths = [f"{dose(row.claim)[1]:g}" for row in rows]
    holding = [row.verdict.verdict == "holds" for row in rows]
    failing = [row.verdict.verdict == "does not hold" for row in rows]
    up_to = [strength for place, strength in enumerate(strengths) if all(holding[: place + 1])]
    onward = [strength for place, strength in enumerate(strengths) if all(failing[place:])]
    said = [
        *(f"holds up to {strength}" for strength in up_to[-1:]),
        *(f"not from {strength} on" for strength in onward[:1]),
    ]
    return ", ".join(said) or "undecided"


def cosines(given: Sequence[str], _lines: Sequence[str], _shown: Judged) -> str:
    """``cosines NAME ...``: the cost of each dose of these studies, in the order of the cosine that it leaves."""
    rows = [row for name in given for row in judged(name)]
    columns = list(dict.fromkeys(_where(row, ["model", "optimiser"]) for row in rows))
    by_dose: dict[tuple[float, str], dict[str, str]] = {}
    for row in rows:
        name, strength = dose(row.claim)
        key = -cosine(row.claim), f"`{name}({strength:g})`"
        by_dose.setdefault(key, {})[_where(row, ["model", "optimiser"])] = claim_words.estimate(row.verdict.cells[0])
    body = [
        [f"{abs(key):.2f}", what, *(own.get(c, "") for c in columns)] for (key, what), own in sorted(by_dose.items())
    ]
    return table(["Expected cosine", "Feedback", *(f"Points, {column}" for column in columns)], body)


MARKS = claim_words.SYMBOLS


def across(given: Sequence[str], lines: Sequence[str], shown: Judged) -> str:
    """``across NAME``: a row for each network and optimiser, a column for each candidate of the study's claims.

    A cell has the percentage points between the candidate and its baseline, and the verdict of the claim. Claims beyond
    those of the file, a line each, have the first columns and are a family of their own.
    """
    (name,) = given
    own = judged(name)
    beyond = judged(name, map(parse_claim, lines))
    rows = [*beyond, *own]
    shown.setdefault(name, []).extend(rows)
    columns = list(dict.fromkeys(row.claim.candidate for row in rows))
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in (row for row in rows if row.verdict.cells):
        cell, said = row.verdict.cells[0], row.settings
        model, data, optimiser = (
            NAMES.get(said[field], f"`{said[field]}`") for field in ("model", "data", "optimiser")
        )
        baseline = words.NOTHING if cell.baseline.mean is None else f"{words.value(cell.baseline.mean)} %"
        key = (
            model,
            data,
            NAMES.get(said["forward"], str(said["forward"])),
            optimiser,
            f"{row.claim.names[1]}: {baseline}",
        )
        points = words.NOTHING
        if cell.differences is not None:
            points = words.value(cell.differences.median, cell.metric, 2, signed=True)
        found.setdefault(key, {})[row.claim.candidate] = f"{points} {MARKS[row.verdict.verdict]}"
    body = [[*key, *(said.get(column, words.NOTHING) for column in columns)] for key, said in found.items()]
    once(body, 3)
    head = ["Network", "Data", "Activation", "Optimiser", "Baseline", *(f"`{column}`" for column in columns)]
    legend = ", ".join(f"{mark} {verdict}" for verdict, mark in MARKS.items())
    asked_after = f", and so do the {len(beyond)} that were asked after the runs" if beyond else ""
    return (
        f"{table(head, body)}\n\nMedian points of test accuracy, candidate less baseline; {legend}. The {len(own)} comparisons "
        f"share one error rate{asked_after} ([how](../statistics.md))."
    )


def asked(given: Sequence[str], lines: Sequence[str], shown: Judged) -> str:
    """``asked NAME``, then a claim a line: claims beyond those of the study's file, as one family."""
    (name,) = given
    if not lines:
        raise StudyError(f"The block 'asked {name}' asks nothing. A claim reads: {FORMS}.")
    return _verdict_table(name, judged(name, map(parse_claim, lines)), shown, labelled=False)


def _verdict_table(name: str, rows: Sequence[Row], shown: Judged, *, labelled: bool) -> str:
    shown.setdefault(name, []).extend(rows)
    apart = varied(rows)
    asked_after = not labelled
    labelled = labelled and any(row.claim.label for row in rows)
    lines: list[list[str]] = []
    for row in rows:
        cell = row.verdict.cells[0] if row.verdict.cells else None
        claim = _claim(row.claim)
        first = [f"{row.claim.label}: {claim}" if labelled and row.claim.label else claim]
        where = [_where(row, apart)] if apart else []
        if cell is None:
            lines.append([*first, *where, row.verdict.text, "", "", ""])
            continue
        notes = claim_words.notes(cell, row.verdict)
        lines.append(
            [
                *first,
                *where,
                f"**{cell.verdict}**",
                claim_words.estimate(cell),
                claim_words.means(cell),
                "; ".join([f"{cell.pairs} pairs", claim_words.collapses(cell), *map(_code_rules, notes)]),
            ]
        )
    if apart:
        once(lines, 1)
    head = ["Claim", *(["Where"] if apart else []), "Verdict", "Points", "Accuracy", "Pairs, collapses, notes"]
    family, looks = rows[0].verdict.family, rows[0].verdict.looks
    shared = f"The {family} comparisons share one error rate" if family > 1 else "One comparison"
    after = ", asked after the runs" if asked_after else ""
    return f"{table(head, lines)}\n\n{shared}{f' over {looks} looks' if looks > 1 else ''}{after} ([how](../statistics.md))."


def _claim(claim: Claim) -> str:
    points = f"{write_value(claim.margin)} point{'' if claim.margin == 1 else 's'}"
    candidate, baseline = claim.names
    return f"`{candidate}` is {claim.relation} `{baseline}` by {points}"


def _code_rules(note: str) -> str:
    """Note such as ``full_jam: 3 single class`` with its rule as code."""
    return re.sub(r"^(.+)(: \d+ )", r"`\1`\2", note)


def _where(row: Row, fields: Sequence[str]) -> str:
    said = {field: row.settings[field] for field in fields if row.settings[field] is not None}
    rate = said.pop("learning_rate", None)
    parts = [NAMES.get(str(value), f"`{value}`") for value in said.values()]
    if rate is None:
        return ", ".join(parts)
    if not parts:
        return f"rate {write_value(rate)}"
    return f"{', '.join(parts)}{' ' if 'optimiser' in said else ', '}{write_value(rate)}"


def holds(_given: Sequence[str], lines: Sequence[str], shown: Judged) -> str:
    """``holds``, then lines ``candidate | page | why``, three for the activations: the pages' verdicts by optimiser."""
    rows: list[list[str]] = []
    for line in lines:
        rule, page, *why = (part.strip() for part in line.split("|"))
        candidate = spelling.rule(rule)
        for forward, reason in zip(("relu", "linear", "logistic"), why, strict=True):
            own = [row for row in shown["lenet5-claims"] if row.claim.candidate == candidate]
            own = [row for row in own if row.settings["forward"] == forward]
            found = {row.settings["optimiser"]: _short(row.verdict) for row in own}
            claim = f"[{_claim(own[0].claim)}]({page})"
            rows.append([claim, READINGS[candidate], NAMES[forward], found["sgd"], found["adam"], reason])
    once(rows, 2)
    return table(["Claim", "Reading", "Activation", "SGD", "Adam", "Why"], rows)


def _short(verdict: ClaimVerdict) -> str:
    stuck = verdict.verdict == "undecided" and "neither rule trains" in verdict.cells[0].reason
    return "undecided, neither trains" if stuck else verdict.verdict


def quoted(_given: Sequence[str], lines: Sequence[str], shown: Judged) -> str:
    """``quoted``, then lines ``page | table ...``: verdicts of the claims that a page shows of its tables."""
    body: list[list[str]] = []
    for line in lines:
        page, tables = (part.strip() for part in line.split("|"))
        for name in tables.split():
            rows = shown.get(name, [])
            apart = ["forward", *(field for field in varied(rows) if field != "forward")]
            for row in rows:
                label = f"{row.claim.label}: " if row.claim.label else ""
                body.append(
                    [
                        f"[{label}{_claim(row.claim)}]({page}){', asked after the runs' if row.asked else ''}",
                        _where(row, apart),
                        f"**{row.verdict.verdict}**",
                        claim_words.estimate(row.verdict.cells[0]),
                        f"{row.verdict.cells[0].pairs} of {row.verdict.family}",
                    ]
                )
    once(body, 1)
    return f"{table(['Claim', 'Where', 'Verdict', 'Points', 'Pairs, family'], body)}\n\n{_FAMILY}"


_FAMILY = (
    "Pairs of runs, and the number of comparisons that share one error rate with this one ([how](../statistics.md)). There are no "
    "p-values: a verdict is read off the interval beside it and off the collapses, which the pages have."
)


def tally(given: Sequence[str], _lines: Sequence[str], shown: Judged) -> str:
    """``tally NAME ...``: the number of comparisons that the pages show of these tables, by verdict."""
    rows = [row for name in given for row in shown.get(name, [])]
    found = [row.verdict.verdict for row in rows]
    kinds = {"hold": "holds", "do not hold": "does not hold", "undecided": "undecided", "identical": "identical"}
    counts = ", ".join(f"{found.count(verdict)} {named}" for named, verdict in kinds.items())
    differences = [row.verdict.cells[0].of_differences for row in rows if row.verdict.verdict == "undecided"]
    settled = sum(answer != "undecided" for answer in differences)
    short = f"; of {settled} of the undecided the difference alone is decided, and collapses are not" if settled else ""
    asked_after = sum(row.asked for row in rows)
    return f"{len(rows)} comparisons: {counts}{short}. {asked_after or 'None'} asked after the runs."


def again(given: Sequence[str], _lines: Sequence[str], shown: Judged) -> str:
    """``again NAME NAME``: the verdicts of the same claims by two tables, of different seeds."""
    first, second = given
    body: list[list[str]] = []
    for ours, theirs in zip(judged(first), judged(second, runs(first)[0].claims), strict=True):
        told = [[f"**{row.verdict.verdict}**", claim_words.estimate(row.verdict.cells[0])] for row in (ours, theirs)]
        body.append([f"{_claim(ours.claim)}, {NAMES[ours.settings['forward']]}", *told[0], *told[1]])
    seeds = [sorted({result.trial.seed for result in runs(name)[1]}) for name in given]
    heads = [f"seeds {own[0]} to {own[-1]}" for own in seeds]
    head = ["Claim", f"Verdict, {heads[0]}", "Points", f"Verdict, {heads[1]}", "Points"]
    return table(head, body)
