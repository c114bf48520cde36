import subprocess
import sys

import pytest
import torch

from tieless.data import datasets, get, is_available, load, locate
from tieless.data.fashion_mnist import FashionMNIST, read_publication
from tieless.data.loading import _draw
from tieless.errors import DataError, RuleTypeError, RuleValueError, SpecError

SPECS = ["ones(d=6, n=100)", "digits"]


def tensors(data):
    return data.train_x, data.train_y, data.test_x, data.test_y


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("subset", [None, 20])
def test_equal_arguments_give_equal_data(spec, subset):
    one, same = load(spec, seed=3, subset=subset), load(spec, seed=3, subset=subset)
    assert all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(same), strict=True))


def test_another_process_gives_the_same_data():
    report = "from tieless.data import load; print(load('ones', seed=7, subset=9).train_x.tolist())"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=600)
    assert run.stdout.strip() == str(load("ones", seed=7, subset=9).train_x.tolist())


def rows(data):
    return [(*x, y) for x, y in zip(data.train_x.tolist(), data.train_y.tolist(), strict=True)]


@pytest.mark.parametrize("subset", [1, 100, 1437])
def test_a_subset_has_training_samples_without_replacement(subset):
    whole, part = load("digits", seed=1), load("digits", seed=1, subset=subset)
    # All samples of DIGITS differ, so a set has as many as there are.
    assert len(set(rows(part))) == subset
    assert set(rows(part)) <= set(rows(whole))
    assert torch.equal(part.test_x, whole.test_x)
    assert torch.equal(part.test_y, whole.test_y)


def test_a_smaller_subset_is_contained_in_a_larger_one():
    small, large = load("digits", seed=1, subset=50), load("digits", seed=1, subset=200)
    assert set(rows(small)) < set(rows(large))


def test_the_seed_draws_the_subset(small, machine):
    """Training samples of a published split, where nothing else is random."""
    small.put(machine.own, small.contents)
    whole = read_publication(small.publication)
    assert torch.equal(_draw(whole, 10, 1).train_x, _draw(whole, 10, 1).train_x)
    assert not torch.equal(_draw(whole, 10, 1).train_x, _draw(whole, 10, 2).train_x)


def test_a_subset_is_not_the_first_epochs_order():
    whole = load("ones(d=64, n=125)", seed=0)
    part = load("ones(d=64, n=125)", seed=0, subset=100)
    shuffled, _ = next(whole.batches(torch.Generator().manual_seed(0), 100))
    assert sorted(shuffled.tolist()) == sorted(part.train_x.tolist())
    assert not torch.equal(shuffled, part.train_x)


@pytest.mark.parametrize("subset", [0, -1, 81])
def test_a_subset_that_cannot_be_is_refused(subset):
    with pytest.raises(RuleValueError, match=f"subset must be 1 to 80, the training samples of .*, got {subset}"):
        load("ones(n=100)", seed=0, subset=subset)


@pytest.mark.parametrize("subset", [1.5, True, "10"])
def test_a_subset_of_another_type_is_refused(subset):
    with pytest.raises(RuleTypeError, match="subset must be an integer"):
        load("ones", seed=0, subset=subset)


@pytest.mark.parametrize("seed", [None, 0.0, False])
def test_a_seed_of_another_type_is_refused(seed):
    with pytest.raises(RuleTypeError, match="seed must be an integer"):
        load("ones", seed=seed)


def test_data_lie_on_the_device_asked_for():
    data = load("ones", seed=0, subset=3, device="meta")
    assert {tensor.device.type for tensor in tensors(data)} == {"meta"}


@pytest.mark.parametrize("ask", [lambda name: load(name, seed=0), get, locate, is_available])
@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("mnist", "Unknown data set 'mnist'.*There are: brown, digits, fashion-mnist, japanese-vowels, mnist1d, ones"),
        ("fashion-mnits", "Did you mean 'fashion-mnist'"),
        ("fashion-mnist(d=2)", "Unknown parameter 'd'.*fashion-mnist takes no parameters"),
        ("digits >> ones", "Expected one name"),
        ("", "expected a name"),
    ],
)
def test_a_name_that_does_not_exist_is_one_line(ask, name, complaint):
    with pytest.raises(SpecError, match=complaint) as refused:
        ask(name)
    assert "\n" not in str(refused.value)


def test_the_catalogue_is_sorted_and_every_entry_says_where_it_is_from():
    assert list(datasets()) == ["brown", "digits", "fashion-mnist", "japanese-vowels", "mnist1d", "ones"]
    assert all(source.origin for source in datasets().values())


@pytest.mark.parametrize("name", ["digits", "ones(d=64)"])
def test_what_needs_no_files_is_always_there(machine, name):
    assert is_available(name)
    assert locate(name) is None
    assert get(name) is None
    with pytest.raises(DataError, match="needs no files"):
        get(name, machine.system)


def test_files_are_available_when_all_are_there(small, machine, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "publication", small.publication)
    assert not is_available("fashion-mnist")
    assert locate("fashion-mnist") is None
    small.put(machine.own, dict(list(small.contents.items())[1:]))
    assert not is_available("fashion-mnist")
    small.put(machine.own, small.contents)
    assert is_available("fashion-mnist")
    assert locate("fashion-mnist") == machine.own


def test_damaged_files_are_available_so_that_loading_can_refuse_them(small, machine, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "publication", small.publication)
    small.put(machine.own, dict.fromkeys(small.contents, b""))
    assert is_available("fashion-mnist")


def test_get_tells_where_the_files_are(small, machine, tmp_path, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "publication", small.publication)
    assert get("fashion-mnist", small.put(tmp_path / "usb", small.contents)) == machine.own
    assert get("fashion-mnist") == machine.own


def test_importing_the_room_does_not_import_scikit_learn():
    report = "import sys, tieless.data; print('sklearn' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=600)
    assert run.stdout.strip() == "False"
