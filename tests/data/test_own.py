"""Data of the user's own: what is read, what is refused, and what the hash of a trial covers."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from PIL import Image

from tieless.data import load, register_data
from tieless.data.own import Files, source_of
from tieless.errors import DataError, TielessError
from tieless.testing import temporary_names

X = np.random.default_rng(0).normal(size=(50, 4))
Y = (X[:, 0] > 0).astype(int)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(spec):
    with pytest.raises(TielessError) as caught:
        load(spec, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_arrays_with_a_test_part_are_taken_as_they_are():
    np.savez("d.npz", train_x=X, train_y=Y, test_x=X[:10].astype("f4"), test_y=Y[:10].astype("u1"))
    for spec in ("./d.npz", "d.npz"):
        data = load(spec, seed=0)
        assert data.name == "./d.npz"
        assert np.array_equal(data.train_x.numpy(), X.astype(np.float32))
        assert np.array_equal(data.test_y.numpy(), Y[:10])
        assert (data.train_x.dtype, data.test_y.dtype, data.classes) == (torch.float32, torch.int64, 2)


def test_without_a_test_part_the_seed_draws_it():
    np.savez("d.npz", train_x=np.arange(50.0), train_y=Y)
    first, again, other = (load("d.npz", seed=seed) for seed in (0, 0, 1))
    assert (len(first.train_x), len(first.test_x), first.train_x.shape[1:]) == (40, 10, (1,))
    assert torch.equal(first.test_x, again.test_x)
    assert not torch.equal(first.test_x, other.test_x)
    both = torch.cat([first.train_x, first.test_x]).flatten()
    assert sorted(both.tolist()) == list(range(50))
    assert all(Y[int(x)] == y for x, y in zip(first.train_x, first.train_y, strict=True))


def test_bytes_are_fractions_integers_are_codes_and_floating_labels_are_numbers():
    np.savez("d.npz", train_x=np.array([[0, 255]] * 5, "u1"), train_y=np.linspace(0, 1, 5))
    data = load("d.npz", seed=0)
    assert data.train_x[0].tolist() == [0.0, 1.0]
    assert (data.train_y.dtype, data.classes) == (torch.float32, 1)
    np.savez("e.npz", train_x=np.array([[0, 255]] * 5, "i4"), train_y=np.zeros((5, 3)))
    data = load("e.npz", seed=0)
    assert (data.train_x.dtype, data.classes, data.train_y.shape) == (torch.int64, 3, (4, 3))


def test_arrays_in_files_of_their_own(tmp_path):
    np.save("a_x.npy", X)
    np.save("a_y.npy", Y)
    (tmp_path / "d").mkdir()
    np.save("d/train_x.npy", X)
    np.save("d/train_y.npy", Y)
    pair, folder = load("a_x.npy", seed=0), load("./d", seed=0)
    assert len(pair.train_x) == len(folder.train_x) == 40
    (tmp_path / "a_y.npy").unlink()
    assert "a_y.npy cannot be read: No such file" in refusal("a_x.npy")
    np.save("c.npy", X)
    assert "has no partner" in refusal("c.npy")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"train_x": X}, "has the arrays 'train_x'"),
        ({"tarin_x": X, "train_y": Y}, "expected train_x and train_y"),
        ({"train_x": X, "train_y": Y, "test_x": X}, "expected train_x and train_y"),
        ({"train_x": X, "train_y": Y, "tset_x": X, "test_y": Y}, "expected train_x and train_y"),
        ({"train_x": X, "train_y": Y[:9]}, "50 and 9 samples"),
        ({"train_x": X, "train_y": Y, "test_x": X[:, :3], "test_y": Y}, "samples of train_x are (4,) float32"),
        ({"train_x": X, "train_y": Y, "test_x": X, "test_y": Y * 1.0}, "samples of train_y are () int64"),
        ({"train_x": np.where(X > 1, np.nan, X), "train_y": Y}, "NaN or infinite"),
        ({"train_x": X * 1e300, "train_y": Y}, "NaN or infinite in float32"),
        ({"train_x": X, "train_y": Y * np.nan}, "train_y has 50 values that are NaN"),
        ({"train_x": X.astype(str), "train_y": Y}, "dtype <U32"),
        ({"train_x": X * 1j, "train_y": Y}, "dtype complex128"),
        ({"train_x": X, "train_y": Y - 1}, "has the label -1"),
        ({"train_x": X, "train_y": 0 * Y}, "all labels are 0: there is nothing to tell apart"),
        ({"train_x": X, "train_y": Y * 10**12}, "a label is 1000000000000"),
        ({"train_x": X[:0], "train_y": Y[:0]}, "shape (0, 4)"),
        ({"train_x": 3.0, "train_y": 1}, "shape ()"),
        ({"train_x": X[:1], "train_y": Y[:1]}, "has one sample"),
        ({"train_x": X, "train_y": np.zeros((50, 2, 2), int)}, "expected one label"),
        ({"train_x": np.array([print] * 50), "train_y": Y}, "pickled objects, which are not read"),
    ],
)
def test_arrays_that_are_no_data_are_one_line(arrays, words):
    np.savez("d.npz", **arrays)
    assert words in refusal("d.npz")


class Bomb:
    def __reduce__(self):
        return print, ("it ran",)


def test_nothing_pickled_is_run(tmp_path, capsys):
    (tmp_path / "d.npz").write_bytes(pickle.dumps(Bomb()))
    assert "d.npz" in refusal("d.npz")
    np.save("a_x.npy", np.array([Bomb()]), allow_pickle=True)
    np.save("a_y.npy", Y)
    assert "pickled objects" in refusal("a_x.npy")
    assert capsys.readouterr().out == ""


@given(content=st.binary(max_size=200), cut=st.integers(0, 2000))
def test_a_damaged_file_is_one_line(tmp_path_factory, content, cut):
    file = tmp_path_factory.mktemp("damaged") / "d.npz"
    np.savez(file, train_x=X, train_y=Y)
    file.write_bytes(file.read_bytes()[:cut] + content)
    try:
        load(str(file), seed=0)
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017 - what is not refused is read


def picture(file, size=(8, 6), colour=3, mode="L"):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, colour if mode == "L" else (colour, 0, 0)).save(file)


def test_a_folder_of_images_by_class(tmp_path):
    for name, colour in (("cat", 51), ("dog", 255)):
        for i in range(5):
            picture(tmp_path / "images" / name / f"{i}.png", colour=colour)
    (tmp_path / "images" / ".DS_Store").touch()
    data = load("./images", seed=0)
    assert (data.train_x.shape, data.classes) == ((8, 1, 6, 8), 2)
    assert all(float(x.mean()) == pytest.approx((0.2, 1.0)[y]) for x, y in zip(data.train_x, data.train_y, strict=True))
    picture(tmp_path / "images" / "dog" / "c.png", mode="RGB")
    assert load("./images", seed=0).train_x.shape == (8, 3, 6, 8)
    picture(tmp_path / "images" / "dog" / "d.png", size=(9, 9))
    assert "bring all to one size" in refusal("./images")
    (tmp_path / "images" / "dog" / "d.png").write_bytes(b"no picture")
    assert "d.png cannot be read" in refusal("./images")


def test_folders_of_images_to_train_and_to_test(tmp_path):
    for name in ("train/a/1.png", "train/b/1.png", "test/b/1.png"):
        picture(tmp_path / "images" / name)
    data = load("./images", seed=0)
    assert (len(data.train_y), data.test_y.tolist(), data.classes) == (2, [1], 2)
    picture(tmp_path / "images" / "test" / "c" / "1.png")
    assert "has the class c" in refusal("./images")


def test_a_folder_without_data_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "has no images" in refusal("./empty")
    assert "There is no absent" in refusal("./absent")
    assert "is given by" in refusal("cifar10").replace("are given by", "is given by")


def test_the_hash_is_that_of_the_files(tmp_path):
    np.savez("d.npz", train_x=X, train_y=Y)
    inner = hashlib.sha256((tmp_path / "d.npz").read_bytes()).hexdigest()
    assert source_of("d.npz").sha256() == hashlib.sha256(f"d.npz\0{inner}\0".encode()).hexdigest()
    before = source_of("d.npz").label
    np.savez("d.npz", train_x=X + 1, train_y=Y)
    assert source_of("d.npz").label != before
    assert Files("absent.npz").label == "absent.npz ?"


class Pairs(torch.utils.data.Dataset):
    def __init__(self, train: bool = True, n: int = 10):
        self.n, self.train = n, train

    def __len__(self):
        return self.n if self.train else 3

    def __getitem__(self, i):
        return torch.full((2,), float(i)), i % 2  # never an IndexError, as is usual


def test_a_data_set_of_pytorch():
    with temporary_names():
        assert register_data(Pairs) is Pairs
        data = load("pairs(n=8)", seed=0)
        assert (data.name, len(data.train_y), len(data.test_y), data.classes) == ("pairs(8)", 8, 3, 2)
        before = source_of("pairs(8)").sha256()
        assert before == source_of("pairs(8)").sha256() != source_of("pairs(6)").sha256()


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: 1 / 0, "cannot be made: ZeroDivisionError: division by zero"),
        (lambda: 3, "expected a torch.utils.data.Dataset or arrays, got 3"),
        (lambda: (1, 2, 3), "got 3 things"),
        (lambda: [[(1, 2, 3)]], "expected samples (input, label), got (1, 2, 3)"),
        (lambda: [[([1.0], 0), ([1.0, 2.0], 0)]], "sample 1 has the shape (2,)"),
        (lambda: [[]], "has no samples"),
        (lambda: [[(print, 0)]], "dtype object"),
    ],
)
def test_a_data_set_that_is_none_is_one_line(made, words):
    with temporary_names():

        def broken():
            return made()

        register_data(broken)
        assert words in refusal("broken")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, 999, 0, 999], "labels go from 0 to 999 and take 2 of the 1,000 values from 0 to 999"),
        ([1, 2, 3, 1], "labels go from 1 to 3 and take 3 of the 4 values from 0 to 3"),
    ],
    ids=["gaps", "from 1"],
)
def test_labels_that_do_not_number_the_classes_are_one_line(tmp_path, labels, words):
    file = tmp_path / "gaps.npz"
    x, y = np.zeros((4, 2), np.float32), np.array(labels)
    np.savez(file, train_x=x, train_y=y)
    with pytest.raises(DataError, match=words) as caught:
        load(str(file), seed=0)
    assert "\n" not in str(caught.value)
    # As the message says.
    np.savez(file, train_x=x, train_y=np.unique(y, return_inverse=True)[1])
    assert load(str(file), seed=0).classes == len(set(labels))


def test_a_class_that_only_the_training_samples_have_and_one_that_is_lacking_are_classes(tmp_path):
    file = tmp_path / "lacking.npz"
    x = np.zeros((3, 2), np.float32)
    np.savez(file, train_x=x, train_y=np.array([0, 1, 3]), test_x=x, test_y=np.array([0, 0, 1]))
    assert load(str(file), seed=0).classes == 4
