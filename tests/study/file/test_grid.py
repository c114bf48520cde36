"""Grids: every combination once, in an order that an interruption leaves balanced."""

import itertools

from hypothesis import given, strategies as st

from tests.study.fakes import make_trial
from tieless.study.file.grid import Settings, drop, expand, matches

AXES = {
    "data": ["digits", "ones(4, 0.5, 2000)"],
    "model": ["mlp(64, 2)", "suc"],
    "forward": ["relu", "linear", "logistic"],
    "backward": ["tied", "full_jam", "constant(1)"],
    "optimiser": ["sgd", "adam"],
    "learning_rate": [0.1, 0.01, 1.0],
    "batch": [32, 64],
    "epochs": [1, 2, 3],
    "seeds": [0, 1, 2, 3],
}


def subsets(values):
    return st.lists(st.sampled_from(values), min_size=1, max_size=2, unique=True)


def axes(names=tuple(AXES)):
    return st.fixed_dictionaries({name: subsets(AXES[name]) for name in names})


def partial_axes():
    return st.sets(st.sampled_from(list(AXES)), min_size=1, max_size=3).flatmap(lambda names: axes(sorted(names)))


def value(trial, name):
    return trial.seed if name == "seeds" else getattr(trial, name)


@given(axes())
def test_a_grid_is_every_combination_once(grid):
    trials = expand([grid])
    assert sorted(tuple(value(trial, name) for name in grid) for trial in trials) == sorted(
        itertools.product(*grid.values())
    )


@given(st.lists(axes(), min_size=1, max_size=3))
def test_blocks_are_united_and_an_overlap_is_run_once(blocks):
    trials = expand(blocks)
    assert len(trials) == len(set(trials))
    assert set(trials) == {trial for block in blocks for trial in expand([block])}


@given(axes(), st.permutations(range(4)))
def test_all_cells_of_a_seed_come_before_the_next_seed(grid, seeds):
    trials = expand([{**grid, "seeds": list(seeds)}])
    order = [trial.seed for trial in trials]
    assert order == [seed for seed in seeds for _ in range(len(trials) // len(seeds))]


def test_blocks_take_turns_by_the_place_of_the_seed_in_their_own_list():
    grid = {name: values[:1] for name, values in AXES.items()}
    first, second = {**grid, "seeds": [0, 1]}, {**grid, "batch": [64], "seeds": [7, 8]}
    assert [trial.seed for trial in expand([first, second])] == [0, 7, 1, 8]


@given(axes(), st.lists(partial_axes(), max_size=3))
def test_dropping_keeps_exactly_what_no_pattern_matches(grid, patterns):
    trials = expand([grid])
    kept = drop(trials, patterns)
    for trial in trials:
        hit = any(all(value(trial, name) in values for name, values in pattern.items()) for pattern in patterns)
        assert (trial in kept) is not hit
    assert kept == [trial for trial in trials if trial in kept]


def test_a_pattern_matches_by_any_value_of_each_field():
    trial = make_trial(forward="logistic", seed=3)
    assert matches(trial, {"forward": ["relu", "logistic"], "seeds": [3]})
    assert not matches(trial, {"forward": ["relu", "logistic"], "seeds": [4]})


@given(axes(), st.dictionaries(st.sampled_from(["a", "b"]), partial_axes(), max_size=2))
def test_a_block_replaces_the_axes_of_the_grid(grid, blocks):
    merged = Settings(grid, blocks).merged()
    assert list(merged) == (list(blocks) or ["grid"])
    for name, block in blocks.items():
        assert merged[name] == {key: block.get(key, grid[key]) for key in grid}


def test_written_out_one_value_is_a_scalar_and_nothing_is_left_out():
    settings = Settings({"epochs": [1], "seeds": [0, 1]}, {"a": {"batch": [3]}}, ({"epochs": [1]},))
    assert settings.to_dict() == {
        "grid": {"epochs": 1, "seeds": [0, 1]},
        "blocks": {"a": {"batch": 3}},
        "exclude": [{"epochs": 1}],
    }
    assert Settings({"epochs": [1]}, {}).to_dict() == {"grid": {"epochs": 1}}
