"""Code of the user's own in studies: nothing that comes with tieless is taken for it."""

import pytest

from tests.pairs import FORWARDS, RULES
from tieless.study import load_study
from tieless.study.sources import Imports

SHIPPED = {
    "data": ["brown(64)", "digits", "fashion-mnist", "japanese-vowels", "mnist1d", "ones"],
    "forward": FORWARDS,
    "backward": RULES,
    "loss": ["bce", "cross_entropy", "huber", "l1", "mse"],
    "metric": ["accuracy", "macro_f1", "mae", "mse", "r2"],
    "model": ["lenet5", "mlp(64, 2)", "suc"],
}


@pytest.mark.parametrize("field", SHIPPED)
def test_what_comes_with_tieless_is_no_code_of_the_users_own(field):
    assert Imports().with_registered([{field: SHIPPED[field]}]) == Imports()


def test_a_setting_that_is_written_at_its_default_makes_the_same_trials():
    written, left_out = load_study("quickstart", ["loss=cross_entropy", "metric=accuracy"]), load_study("quickstart")
    assert [trial.id for trial in written.trials] == [trial.id for trial in left_out.trials]
