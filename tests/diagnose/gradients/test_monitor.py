"""The monitor: when it measures, what it keeps and where it writes it, and that training does not notice."""

import csv
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.diagnose import AlignmentMonitor, CsvLog, TensorBoardLog
from tieless.errors import MissingExtraError, RuleTypeError, RuleValueError


def _net(forward="relu", rule="full_jam"):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(16, 24), nn.BatchNorm1d(24), tl.Activation(forward, rule), nn.Dropout(0.3), nn.Linear(24, 3)
    )


def _train(net, steps, **options):
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(net.parameters())
    monitor = AlignmentMonitor(net, F.cross_entropy, **options) if options else None
    for _ in range(steps):
        x, labels = torch.randn(32, 16), torch.randint(0, 3, (32,))
        if monitor:
            monitor.step((x, labels))
        optimiser.zero_grad()
        F.cross_entropy(net(x), labels).backward()
        optimiser.step()
    return monitor


def test_it_measures_every_so_many_steps_what_alignment_finds():
    net = _net()
    monitor = AlignmentMonitor(net, F.cross_entropy, every=3, seed=5)
    batch = torch.randn(32, 16), torch.randint(0, 3, (32,))
    taken = [monitor.step(batch) for _ in range(7)]
    assert [one is not None for one in taken] == [True, False, False, True, False, False, True]
    assert [one.step for one in monitor.history] == [0, 3, 6]
    assert taken[3].alignment == tl.alignment(net, F.cross_entropy, batch, seed=8)
    assert taken[3] is monitor.history[1]


def test_training_does_not_notice():
    quiet, watched = _net(), _net()
    _train(quiet, 5)
    _train(watched, 5, every=2)
    assert all(torch.equal(value, watched.state_dict()[name]) for name, value in quiet.state_dict().items())


def test_the_csv_has_what_was_measured(tmp_path):
    file = tmp_path / "logs" / "alignment.csv"
    monitor = _train(_net(), 3, every=2, logs=[CsvLog(file)])
    before_the_end = file.read_text(encoding="utf-8")
    monitor.close()
    assert file.read_text(encoding="utf-8") == before_the_end
    rows = list(csv.DictReader(before_the_end.splitlines()))
    expected = [row for one in monitor.history for row in one.rows()]
    assert [(int(row["step"]), row["kind"], row["layer"]) for row in rows] == [
        (row.step, row.kind, row.layer) for row in expected
    ]
    assert [float(row["cosine"]) for row in rows] == [row.cosine for row in expected]
    assert {(row["kind"], row["layer"]) for row in rows} == {
        *(("weights", layer) for layer in ("", "0", "1", "4")),
        ("feedback", ""),
        ("feedback", "2"),
    }


def test_tensorboard_has_what_was_measured(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with _train(_net(), 3, every=2, logs=[TensorBoardLog(tmp_path)]) as monitor:
        pass
    board = EventAccumulator(str(tmp_path)).Reload()
    for layer, tag in (("0", "cosine/weights/0"), ("", "deviation/feedback/(all)")):
        figure, kind, _ = tag.split("/")
        expected = [
            getattr(row, figure)
            for one in monitor.history
            for row in one.rows()
            if (row.kind, row.layer) == (kind, layer)
        ]
        assert [event.step for event in board.Scalars(tag)] == [0, 2]
        assert [event.value for event in board.Scalars(tag)] == pytest.approx(expected, rel=1e-6)


def test_a_writer_that_is_there_is_used_and_left_open():
    class Writer:
        def __init__(self):
            self.scalars, self.closed = {}, False

        def add_scalar(self, tag, value, step):
            self.scalars[tag, step] = value

        def flush(self):
            pass

        def close(self):
            self.closed = True

    writer = Writer()
    monitor = _train(_net(), 1, every=1, logs=[TensorBoardLog(writer)])
    monitor.close()
    assert writer.scalars["cosine/weights/(all)", 0] == monitor.history[0].alignment.whole.cosine
    assert not writer.closed


def test_without_tensorboard_one_line_says_so(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(MissingExtraError, match=r"needs tensorboard.*pip install '\.\[tensorboard\]'"):
        TensorBoardLog(tmp_path)


def test_what_cannot_be_measured_later_is_told_and_ends_nothing():
    net = _net("heaviside", "rectangular")
    monitor = AlignmentMonitor(net, F.cross_entropy, every=1)
    batch = torch.randn(32, 16), torch.randint(0, 3, (32,))
    monitor.step(batch)
    with torch.no_grad():
        net[1].weight.zero_()
    later = monitor.step(batch)
    assert later.alignment is None
    assert "the standard deviation of its z is 0" in later.problem
    assert later.rows() == []
    first = AlignmentMonitor(net, F.cross_entropy)
    with pytest.raises(RuleValueError, match="Nothing to smooth 2 by"):
        first.step(batch)


@pytest.mark.parametrize(
    ("model", "options", "error", "words"),
    [
        (nn.Linear(2, 2), {}, RuleValueError, "AlignmentMonitor found no activation"),
        (_net(), {"every": 0}, RuleValueError, "every must be 1 or more, got 0"),
        (_net(), {"every": 2.0}, RuleTypeError, "every must be an integer"),
    ],
    ids=["no activation", "every=0", "every=2.0"],
)
def test_a_mistake_is_one_line(model, options, error, words):
    with pytest.raises(error, match=words):
        AlignmentMonitor(model, F.cross_entropy, **options)
