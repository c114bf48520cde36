"""A study that is killed again and again is, in the end, the study."""

import random

from tests.study import kills


def test_three_kills_at_random_moments_change_nothing(tmp_path):
    study = ["paper/suc-ones", "--set", "epochs=3", "--set", "seeds=[0, 1, 2, 3, 4]"]
    seed = random.SystemRandom().randrange(2**32)
    kills.say(f"seed {seed}")
    kills.survive(study, tmp_path, kills=3, seed=seed, tell=kills.say)
