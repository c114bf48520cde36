"""The books against a pool that is a list: what they store, when, and what they tell then."""

from collections import deque
from multiprocessing import Pipe

import pytest

from tests.study.fakes import make_result, make_trial
from tieless.errors import LostResultError, StudyError
from tieless.study.running.books import Books
from tieless.study.running.events import Epoch, Finished
from tieless.study.running.pool import Died

TRIALS = [make_trial(seed=seed) for seed in range(6)]
RESULTS = [make_result(trial) for trial in TRIALS]


class Pool:
    """Pool whose looks are given, each a list of events or an error in its place, and the results left at its end."""

    def __init__(self, *looks, rest=()):
        self.looks, self.rest = deque(looks), list(rest)

    def room(self, wanted):
        return wanted

    def submit(self, trial, state):
        pass

    def events(self, interrupt, timeout):
        for event in self.looks.popleft():
            if isinstance(event, Exception):
                raise event
            yield event

    def close(self):
        return self.rest


SILENT, _OPEN = Pipe(duplex=False)


def books_of(pool, **options):
    log = []
    return Books(pool, lambda results: log.append(list(results)), log.append, SILENT, **options), log


def test_results_of_one_look_are_one_transaction_and_told_of_after_it():
    first, second, third, *rest = RESULTS
    epoch = Epoch(third.trial, third.epochs[0])
    books, log = books_of(Pool([Finished(first), epoch, Finished(second)], [], [Finished(third)], rest=rest))
    assert books.loop([result.trial for result in (first, second, third)])
    assert log == [epoch, [first, second], Finished(first), Finished(second), [third], Finished(third)]
    del log[:]
    books.close()
    assert log == [rest, *map(Finished, rest)]
    assert (books.ended, books.ended_ids) == ({"done": 6}, {trial.id for trial in TRIALS})


def test_what_has_arrived_before_a_pool_breaks_is_stored_at_the_end_with_what_it_has_left():
    books, log = books_of(Pool([Finished(RESULTS[0]), StudyError("broken")], rest=[RESULTS[1]]))
    with pytest.raises(StudyError, match="broken"):
        books.loop(TRIALS[:2])
    assert log == []
    books.close()
    assert log == [RESULTS[:2], Finished(RESULTS[0]), Finished(RESULTS[1])]


def test_failures_of_one_look_are_counted_together_and_no_further_trial_begins():
    looks = [[Died(trial, "it died") for trial in TRIALS[:2]]] * 2
    books, log = books_of(Pool(*looks), most_failures=2)
    assert books.loop(TRIALS[:2])
    (stored,) = (entry for entry in log if isinstance(entry, list))
    assert [result.status for result in stored] == ["failed", "failed"]
    assert books.gave_up


def test_results_that_cannot_be_stored_are_counted_and_none_of_them_is_told_of():
    def full(_):
        raise StudyError("The disk is full.")

    told = []
    books = Books(Pool(list(map(Finished, RESULTS))), full, told.append, SILENT)
    with pytest.raises(LostResultError, match=r"its latest 6 results are lost\. The disk is full"):
        books.loop(TRIALS)
    assert (told, books.ended, books.ended_ids) == ([], {}, set())
