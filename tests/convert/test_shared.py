"""Activations that others own too are exchanged in one model alone; where that cannot be, it is said."""

import copy
import gc
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tieless as tl
from tieless.errors import ConversionError, SharedWarning

SHARED = nn.GELU()
X = torch.linspace(-2, 2, 12).reshape(3, 4)


class OfGlobal(nn.Module):
    def __init__(self, act=SHARED):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act, self.last = nn.Linear(4, 8), act, nn.Linear(8, 2)
        self.again = self.act

    def forward(self, x):
        return self.last(self.again(self.act(self.first(x))))


class OfClass(OfGlobal):
    own = nn.Tanh()

    def __init__(self):
        super().__init__(self.own)


def of_default(act=nn.SiLU()):  # noqa: B008  a default that is made once is the point
    return OfGlobal(act)


def gradient(model):
    return torch.autograd.grad(model(X).sum(), model.first.weight)[0]


@pytest.mark.parametrize("make", [OfGlobal, OfClass, of_default])
def test_another_model_and_one_that_is_made_later_are_left_alone(make):
    teacher, student = make(), make()
    act = teacher.act
    state, cls = dict(vars(act)), type(act)
    native = gradient(teacher)
    tl.convert(student, backward="frozen", strict=True)
    assert not gradient(student).any()
    assert torch.equal(gradient(teacher), native)
    assert torch.equal(gradient(make()), native)
    assert not tl.conversion(teacher).converted
    assert student.act is student.again is not act
    assert list(student.state_dict()) == list(teacher.state_dict())
    tl.convert(teacher, backward="constant")
    assert not gradient(student).any()
    tl.revert(student)
    assert student.act is student.again is act
    assert gradient(teacher).any()
    tl.revert(teacher)
    assert teacher.act is act
    assert (type(act), dict(vars(act))) == (cls, state)


def test_only_a_teacher_has_it_too():
    act = nn.GELU()
    teacher, student = OfGlobal(act), OfGlobal(act)
    native = gradient(teacher)
    tl.convert(student, backward="frozen")
    assert torch.equal(gradient(teacher), native)
    tl.convert(student, {"*": None})
    assert student.act is act


def test_what_a_model_owns_alone_stays_the_object_that_it_is():
    act = nn.GELU()
    model = OfGlobal(act)
    holders = [act], {"act": act}, (act,)
    assert tl.convert(model, backward="frozen").act is act
    assert holders[0][0] is act


def test_a_part_of_a_model_is_converted_alone():
    act = nn.ReLU()
    model = nn.Sequential(nn.Sequential(nn.Linear(4, 4), act), nn.Sequential(nn.Linear(4, 4), act))
    tl.convert(model[0], backward="frozen")
    assert (type(model[1][1]), model[1][1]) == (nn.ReLU, act)
    tl.revert(model)
    assert model[0][1] is model[1][1] is act


def test_hooks_and_copies_go_with_it():
    teacher, student = OfGlobal(), OfGlobal()
    calls = []
    handle = SHARED.register_forward_hook(lambda *_: calls.append(1))
    tl.convert(student, backward="frozen")
    student(X)
    assert calls == [1, 1]
    handle.remove()
    student(X)
    teacher(X)
    assert calls == [1, 1]
    for other in (copy.deepcopy(student), pickle.loads(pickle.dumps(student))):
        assert not gradient(other).any()
        assert gradient(tl.revert(other)).any()
        assert type(other.act) is nn.GELU
        assert other.act is not SHARED


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return F.relu(self.linear(x))


def test_a_module_with_weights_is_shared_on_purpose_and_it_is_said():
    block = Block()
    teacher, student = nn.Sequential(block), nn.Sequential(block, nn.ReLU())
    with pytest.warns(SharedWarning, match=r"in Sequential is also converted elsewhere.*: 0\.relu@1 \(in Sequential\)"):
        tl.convert(student, backward="frozen")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tl.convert(student, backward="constant")  # it was said
        tl.revert(student)
        del teacher
        gc.collect()
        tl.convert(student, backward="frozen")


def test_a_refusal_leaves_shared_objects_alone():
    teacher, student = OfGlobal(), OfGlobal()
    with pytest.raises(ConversionError):
        tl.convert(student, {"act": "frozen", "nothing": "frozen"})
    assert student.act is teacher.act is SHARED
    assert type(SHARED) is nn.GELU
