"""A property that decides what is lost is found, and nothing is known of what is held out."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from findings import losses

NAMES = [f"{name} @ {look}" for look in losses.LOOKS for name in losses.EVERY]


def test_of_several_properties_the_one_that_decides_is_found():
    """Points are lost by alignment alone, from a level of each group; the other properties are noise."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number in range(14):
        shared = dict(zip(NAMES, torch.rand(len(NAMES), generator=generator).tolist(), strict=True))
        for level, rule in enumerate(losses.RULES):
            aligned = float(torch.rand((), generator=generator))
            properties = shared | {"alignment @ 0": aligned}
            found.append(losses.Cell(("net", "adam", rule), f"f{number}", 0.8, 5 * level + 20 * aligned, properties))
    by_name = {one.properties: one for one in losses.predictions(found)}
    assert by_name[()].explained == 0
    right = by_name["alignment @ 0",]
    assert right.explained > 0.95
    assert right.order == pytest.approx(1)
    for name in ("gain @ 0", "masked @ 100"):
        assert by_name[name,].explained < 0.3
        assert by_name[name,].error > 3 * right.error


def test_what_is_held_out_is_a_forward_with_all_its_cells():
    """A property that only tells forwards apart, and not how they differ, explains nothing: no cell of a forward is known."""
    generator = torch.Generator().manual_seed(1)
    lost = (30 * torch.rand(14, generator=generator)).tolist()
    found = [
        losses.Cell(("net", "adam", rule), f"f{number}", 0.8, lost[number], dict.fromkeys(NAMES, (number * 5) % 14))
        for number in range(14)
        for rule in losses.RULES
    ]
    assert all(one.explained < 0.2 for one in losses.predictions(found)[1:])


def test_a_forward_is_known_by_its_twin_unless_that_is_held_out_too():
    """Two twins lose 50 points and no other does; what tells them from the others says it of each by the other alone."""
    found = [
        losses.Cell(("net", "adam", rule), forward, 0.8, lost, dict.fromkeys(NAMES, told))
        for forward, lost, told in [
            *(("logistic", 50, 10.0), ("hard_sigmoid", 50, 10.5)),
            *((f"f{number}", 2 * (number % 2), number // 2 / 6) for number in range(12)),
        ]
        for rule in losses.RULES
    ]
    told = losses.predictions(found)[1]
    assert told.explained > 0.8
    assert told.without_twins < 0.3


@pytest.mark.parametrize(("sign", "least", "most"), [(1, 0.9, 1), (-1, -4, -2)])
def test_what_is_learned_elsewhere_is_held_against_this_network(sign, least, most):
    """The other network loses about as much, from another level on, by the same property, or gains by it."""
    aligned = torch.rand(14, 2, generator=torch.Generator().manual_seed(2)).tolist()

    def network(name, level, slope):
        return [
            losses.Cell((name, "adam", rule), f"f{number}", 0.8, level + slope * each, {"alignment @ 0": each})
            for number, own in enumerate(aligned)
            for rule, each in zip(losses.RULES[:2], own, strict=True)
        ]

    found, seen = network("a", 5, 20), network("b", 30, sign * 22)
    assert least < losses.carried(found, seen, ("alignment @ 0",)) <= most
    assert losses.carried(found, network("b", 30, 0), ("alignment @ 0",)) == pytest.approx(0)


def test_another_network_is_asked_where_it_has_the_same_cell():
    found = {(cell.group, cell.forward): cell for cell in losses.cells()}
    models = {group[0] for group, _ in found}
    assert len(models) == 2
    for (group, forward), cell in found.items():
        (other,) = models - {group[0]}
        twin = found.get(((other, *group[1:]), forward))
        assert cell.properties.get(losses.ELSEWHERE) == (twin.lost if twin else None)
    # The perceptron trains with forwards under SGD with which LeNet-5 does not, and so has cells of which nobody can be asked.
    asked = {model: losses.predictions(losses.here_and_elsewhere(model)[0])[-1].properties for model in models}
    assert asked["lenet5"] == (losses.ELSEWHERE,) != asked["mlp(256, 2)"]


def test_the_order_is_that_of_spearman():
    draw = np.random.default_rng(4)
    known, lost = draw.integers(0, 6, 20).tolist(), draw.integers(0, 6, 20).tolist()
    found = [
        losses.Cell(("net", "adam", "full_jam"), "f", 0.8, b, {"gain @ 0": a}) for a, b in zip(known, lost, strict=True)
    ]
    assert losses.order(found, "gain @ 0") == pytest.approx(spearmanr(known, lost).statistic)


@pytest.mark.parametrize(("mean", "intercept"), [(True, True), (False, False)])
def test_the_regression_is_that_of_scikit_learn(mean, intercept):
    draw = np.random.default_rng(3)
    known, asked = draw.normal(2, 3, (20, 4)), draw.normal(2, 3, (5, 4))
    known[:, 2] = asked[:, 2] = 0.1  # constant, and its standard deviation is not quite 0
    lost = known[:, 0] - 5 + draw.normal(size=20)
    middle, level = (known.mean(axis=0), lost.mean()) if mean else (np.zeros(4), 0)
    model = make_pipeline(StandardScaler(with_mean=mean), Ridge(alpha=1.0, fit_intercept=intercept))
    expected = model.fit(known, lost).predict(asked)
    assert level + losses._ridge(known - middle, lost - level, asked - middle) == pytest.approx(expected, abs=1e-9)
