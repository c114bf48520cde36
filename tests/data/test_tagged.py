"""Documents with tags: as they are distributed, and as the one file that is kept of them."""

import re
import shutil
import subprocess

import pytest
from hypothesis import given, strategies as st

from tieless.data.acquire import acquire
from tieless.data.places import find
from tieless.data.tagged import untagged
from tieless.errors import DataError

SHA256SUM = shutil.which("sha256sum")
WORDS = st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1)
TAGS = st.text(st.sampled_from("abcnp$*+-.,`'"), min_size=1)
SENTENCES = st.lists(st.lists(st.tuples(WORDS, TAGS), min_size=1), max_size=5)


def contents_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("tagged", "text"),
    [
        ("\n\n\tThe/at Fulton/np-tl County/nn-tl\n\n\n\tJury/nn ./.\n\n", "The Fulton County\nJury .\n"),
        ("``/`` no/at ''/'' ,/,\n", "`` no '' ,\n"),
        ("and/or/cc //in mg/l/nn 1/4''/nn\n", "and/or / mg/l 1/4''\n"),
        ("  one/cd \t two/cd  \nthree/cd", "one two\nthree\n"),
        ("\n \t\n", ""),
    ],
)
def test_words_lose_their_tags_and_nothing_else(tagged, text):
    assert untagged(tagged) == text


@given(sentences=SENTENCES)
def test_what_was_tagged_comes_back(sentences):
    tagged = "\n\n\n".join("\t" + " ".join(f"{word}/{tag}" for word, tag in sentence) for sentence in sentences)
    assert untagged(tagged) == "".join(" ".join(word for word, _ in sentence) + "\n" for sentence in sentences)


def test_from_a_folder_of_documents_one_file_is_kept(corpus, machine, tmp_path):
    # NLTK's folder has more files than these.
    source = corpus.put(tmp_path / "nltk", {**corpus.tagged, "README": b"BROWN", "cats.txt": b"ca01 news"})
    assert acquire(corpus.publication, source, [].append) == machine.own
    assert contents_of(machine.own) == {"small.txt": corpus.kept}


def test_the_file_that_is_kept_is_a_source_itself(corpus, machine, tmp_path):
    source = corpus.put(tmp_path / "usb", {"small.txt": corpus.kept})
    assert acquire(corpus.publication, source, [].append) == machine.own
    assert contents_of(machine.own) == {"small.txt": corpus.kept}


@pytest.mark.parametrize("form", ["tagged", "kept"])
def test_the_variables_folder_is_used_as_it_lies(corpus, machine, tmp_path, monkeypatch, form):
    contents = corpus.tagged if form == "tagged" else {"small.txt": corpus.kept}
    # As NLTK has it: corpora/brown.
    corpus.put(tmp_path / "corpora" / "small", contents)
    monkeypatch.setenv("TIELESS_DATA", str(tmp_path / "corpora"))
    assert acquire(corpus.publication, None, [].append) == tmp_path / "corpora" / "small"
    assert bytes(find(corpus.publication).read(corpus.file).tolist()) == corpus.kept
    assert not machine.cache.exists()


@pytest.mark.parametrize(
    ("lost", "complaint"),
    [
        (["cb03"], r"cb03 is missing\. Give"),
        (["ca02", "cb09"], r"ca02 is missing, and 1 more of the 23 documents\. Give"),
    ],
)
def test_a_missing_document_is_named(corpus, machine, tmp_path, lost, complaint):
    source = corpus.put(tmp_path / "usb", {name: c for name, c in corpus.tagged.items() if name not in lost})
    with pytest.raises(DataError, match=f"usb/{complaint} --from a folder with the published files of small"):
        acquire(corpus.publication, source, [].append)
    assert not machine.own.exists()


def test_a_place_with_some_of_the_documents_is_the_place_and_does_not_hold_them(corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("TIELESS_DATA", str(corpus.put(tmp_path / "part", {"ca01": corpus.tagged["ca01"]})))
    assert corpus.file.begun(tmp_path / "part")
    assert not find(corpus.publication).holds(corpus.publication)
    corpus.put(tmp_path / "part", corpus.tagged)
    assert find(corpus.publication).holds(corpus.publication)


def swapped(contents):
    """The same bytes in all, and the same as a whole: one moved from the end of a document to the start of the next."""
    return {**contents, "ca01": contents["ca01"][:-1], "ca02": contents["ca01"][-1:] + contents["ca02"]}


def altered(contents):
    return {**contents, "cb01": contents["cb01"].replace(b"np$", b"np*")}


@pytest.mark.parametrize("change", [swapped, altered])
def test_documents_of_another_digest_are_refused(corpus, machine, tmp_path, change):
    contents = change(corpus.tagged)
    assert sum(map(len, contents.values())) == sum(map(len, corpus.tagged.values()))
    source = corpus.put(tmp_path / "usb", contents)
    with pytest.raises(
        DataError, match=r"The 23 documents in .*usb are not the published ones: SHA-256 of all is"
    ) as no:
        acquire(corpus.publication, source, [].append)
    assert f"expected {corpus.file.tagged_sha256}. Give --from" in str(no.value)
    assert "\n" not in str(no.value)
    assert not machine.own.exists()


def test_documents_of_another_size_are_refused_unread(corpus, tmp_path, monkeypatch):
    source = corpus.put(tmp_path / "usb", {**corpus.tagged, "ca07": corpus.tagged["ca07"] + b"\n"})
    monkeypatch.setattr("pathlib.Path.read_bytes", lambda path: pytest.fail(f"{path} was read"))
    size = corpus.file.tagged_size
    with pytest.raises(DataError, match=rf"not the published ones: {size + 1} bytes together, expected {size}\."):
        acquire(corpus.publication, source, [].append)


def test_a_document_that_cannot_be_read_is_named(corpus, tmp_path, monkeypatch):
    source = corpus.put(tmp_path / "usb", corpus.tagged)

    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.read_bytes", denied)
    with pytest.raises(DataError, match=r"usb/ca01 cannot be read: Permission denied\."):
        acquire(corpus.publication, source, [].append)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda kept: kept[:-5], "is truncated"),
        (lambda kept: kept + b"A", "is not the published file: it has more than"),
        (lambda kept: kept.replace(b"A", b"B", 1), "is not the published file: SHA-256 of its content is"),
    ],
    ids=["truncated", "longer", "altered"],
)
def test_a_damaged_cache_is_refused_with_the_remedy(corpus, machine, damage, complaint):
    corpus.put(machine.own, {"small.txt": damage(corpus.kept)})
    with pytest.raises(DataError, match=rf"small\.txt {complaint}.*Fetch it again: tieless data get small"):
        find(corpus.publication).read(corpus.file)


@pytest.mark.skipif(SHA256SUM is None, reason="needs coreutils")
def test_the_digest_is_that_of_sha256sum(corpus, tmp_path):
    corpus.put(tmp_path, corpus.tagged)
    run = subprocess.run([SHA256SUM, *corpus.tagged], cwd=tmp_path, capture_output=True, check=True)
    again = subprocess.run([SHA256SUM], input=run.stdout, capture_output=True, check=True)
    assert re.match(rb"\w+", again.stdout)[0].decode() == corpus.file.tagged_sha256
