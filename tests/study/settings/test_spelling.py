"""One spelling of every spec."""

from tieless.study.settings import spelling


def test_every_spelling_is_read_back_as_itself():
    for spelled in ("rectangular(-1, 1) >> noise(0.1)", 'positive_jam(gate="feedback")', "scale(0.5)"):
        assert spelling.rule(spelled) == spelled


def test_whole_numbers_lose_their_point_only_where_nothing_else_changes():
    assert spelling.rule("scale(2.0)") == spelling.rule("scale(2)") == "scale(2)"
    assert spelling.rule("scale(1e300)") == "scale(1e+300)"
