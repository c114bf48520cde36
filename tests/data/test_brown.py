"""Windows of a corpus: what they hold, which documents they come from, and the real one where it is here."""

from collections import Counter

import pytest
import torch

from tieless.data import brown, get, is_available, load, locate
from tieless.data.brown import BROWN, Brown
from tieless.data.characters import CHARACTERS, decode
from tieless.errors import DataError, RuleTypeError, RuleValueError

HERE = is_available("brown")


@pytest.fixture
def small_brown(corpus, machine, monkeypatch):
    """The made-up corpus, under the name of the real one, in the cache."""
    monkeypatch.setattr(brown, "BROWN", corpus.publication)
    monkeypatch.setattr(Brown, "publication", corpus.publication)
    corpus.put(machine.own, {"small.txt": corpus.kept})
    return corpus


def documents(corpus, *, testing):
    return [text for number, text in enumerate(corpus.texts.values(), 1) if (number % 10 == 0) == testing]


def rows(codes):
    return [decode(row) for row in codes]


@pytest.mark.parametrize("context", [1, 2, 7, 30])
def test_windows_and_labels_are_slices_of_the_documents(small_brown, context):
    data = load(f"brown(context={context})", seed=0)
    for testing, x, y in ((False, data.train_x, data.train_y), (True, data.test_x, data.test_y)):
        starts = [
            (text, at)
            for text in documents(small_brown, testing=testing)
            for at in range(0, len(text) - context, context)
        ]
        assert rows(x) == [text[at : at + context] for text, at in starts]
        assert rows(y) == [text[at + 1 : at + 1 + context] for text, at in starts]
        assert (x.dtype, y.dtype, x.shape) == (torch.int64, torch.int64, y.shape)
    assert data.name == f"brown({context})"
    assert data.classes == len(CHARACTERS)


def letters(text):
    return {character for character in text if character.isupper()}


def test_no_window_and_no_label_crosses_the_end_of_a_document(small_brown):
    data = load("brown(context=5)", seed=0)
    for window, following in zip(rows(data.train_x), rows(data.train_y), strict=True):
        assert len(letters(window + following)) <= 1


def test_a_document_trains_or_tests(small_brown):
    data = load("brown(context=5)", seed=0)
    training, testing = (letters("".join(rows(x))) for x in (data.train_x, data.test_x))
    assert testing == {"J", "T"}  # the tenth and the twentieth
    assert training == set("ABCDEFGHIJKLMNOPQRSTUVW") - testing


def test_the_seed_decides_nothing_but_the_subset(small_brown):
    one, other = load("brown(context=5)", seed=1), load("brown(context=5)", seed=2)
    assert torch.equal(one.train_x, other.train_x)
    assert torch.equal(one.test_y, other.test_y)
    part, again, another = (load("brown(context=5)", seed=seed, subset=20) for seed in (1, 1, 2))
    assert part.train_x.shape == part.train_y.shape == (20, 5)
    assert torch.equal(part.train_y, again.train_y)
    assert not torch.equal(part.train_x, another.train_x)
    assert torch.equal(part.train_x[:, 1:], part.train_y[:, :-1])
    assert Counter(rows(part.train_x)) <= Counter(rows(one.train_x))
    assert torch.equal(part.test_x, one.test_x)


def test_a_process_reads_the_file_once(small_brown):
    assert load("brown", seed=0).train_x.data_ptr() == load("brown(64)", seed=1).train_x.data_ptr()
    assert load("brown(5)", seed=0).train_x.shape[1] == 5


@pytest.mark.parametrize(
    ("spec", "error", "complaint"),
    [
        ("brown(context=0)", RuleValueError, "brown needs context of at least 1, got context=0"),
        ("brown(context=1000)", RuleValueError, "brown needs a context shorter than its documents, got context=1000"),
        ("brown(1.5)", RuleTypeError, "context must be an integer, got 1.5"),
    ],
)
def test_a_context_that_cannot_be_is_one_line(small_brown, spec, error, complaint):
    with pytest.raises(error, match=complaint) as refused:
        load(spec, seed=0)
    assert "\n" not in str(refused.value)


def test_it_is_found_and_had_under_any_of_its_specs(small_brown, machine):
    for spec in ("brown", "brown(context=5)"):
        assert is_available(spec)
        assert locate(spec) == get(spec) == machine.own


@pytest.mark.usefixtures("machine")
def test_without_the_files_loading_says_how_to_get_them():
    assert not is_available("brown")
    with pytest.raises(DataError, match=r"^brown is not on this machine\. Fetch it: tieless data get brown$"):
        load("brown(context=8)", seed=0)


@pytest.mark.skipif(not HERE, reason="The Brown corpus is not here: tieless data get brown")
def test_the_real_corpus_has_the_published_properties():
    (file,) = BROWN.files
    assert len(file.documents) == 500
    text = bytes(file.read(locate("brown")).tolist()).decode()
    # As NLTK counts words and sentences of its copy, and as the manual gives the documents of a genre.
    assert len(text.split()) == 1161192
    assert text.count("\n") == 57340
    assert set(text) == {*CHARACTERS, "\f"}
    data = load("brown(context=64)", seed=0)
    assert (data.train_x.shape, data.test_x.shape, data.classes) == ((85891, 64), (9594, 64), 85)
    assert decode(data.train_x[0]) == "The Fulton County Grand Jury said Friday an investigation of Atl"
    assert decode(data.train_y[0]) == "he Fulton County Grand Jury said Friday an investigation of Atla"
    assert {name[1] for name in file.documents[9::10]} == set("abcdefghjklmnpr")
