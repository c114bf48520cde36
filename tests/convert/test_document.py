"""A conversion in a file: what it says is done, what it should not say is refused in one line that names the file."""

import pytest
from torch import nn

import tieless as tl
from tieless.errors import ConversionError, SpecError, TielessError


def net():
    return nn.Sequential(nn.ReLU(), nn.GELU(), nn.Sequential(nn.ReLU(), nn.Tanh()))


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "plan.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_file_is_a_conversion(written):
    path = written("""
backward: tied
layers:
  "2.*": {forward: heaviside, backward: "rectangular(-1, 1)"}
  "2.1": null
types:
  GELU: regelu2
""")
    for given in (path, str(path)):
        done = tl.conversion(tl.convert(net(), given))
        assert {one.name: (one.forward, one.backward) for one in done.converted} == {
            "0": ("relu", "tied"),
            "1": ("gelu", "regelu2"),
            "2.0": ("heaviside", "rectangular(-1, 1)"),
        }
        assert [one.name for one in done.left] == ["2.1"]


def test_types_are_classes_by_name(written):
    class Mine(nn.ReLU):
        pass

    model = nn.Sequential(Mine(), nn.ReLU(), nn.GELU())
    done = tl.conversion(tl.convert(model, written("types: {Mine: sign, ReLU: tied}")))
    assert [(one.name, one.backward) for one in done.converted] == [("0", "sign"), ("1", "tied")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("backwards: tied", r"1: backwards: unknown key\. There are: forward, backward, layers, types"),
        ("layers:\n  '0': {forward: relu, back: tied}", r"2: layers\.0\.back: unknown key"),
        ("layers: {'0': {forward: relu}}", "no backward rule"),
        ("forward: relu", "no backward rule"),
        ("layers: {'0': 3}", r"1: layers\.0: expected 'name: value' lines, got 3"),
        ("layers: {'0': false}", "got False"),
        ("layers: {'0': {}}", "no backward rule"),
        ("layers: {'0': tied, '0': sign}", "1: '0' is given twice"),
        ("layers: [tied]", "1: layers: expected 'name: value' lines"),
        ("layers: {[0]: tied}", "expected a name as the key"),
        ("backward: [tied]", "1: backward: expected a spec such as full_jam, got"),
        ("backward: &rule tied\nforward: *rule", "2: aliases are not read"),
        (
            "layers: {'0': {backward: clamp(-1, 1)}}",
            r"layers\.0\.1\): unknown key.*put a spec that has a comma in quotes",
        ),
        ("types: {nn.ReLU: tied}", r"1: types\.nn\.ReLU: expected the name of a class alone, such as ReLU"),
        (
            "layers: text: more",
            "1: mapping values are not allowed here. A text with a colon and a space in it needs quotes",
        ),
        ("layers: {}", "selects nothing"),
        ("", "got nothing"),
        ("backward: {", "1: expected the node content"),
        ("backward: !!python/object/apply:os.getcwd []", "1: the tag .* is not read here"),
    ],
)
def test_what_a_file_should_not_say_is_refused(written, text, message):
    model = net()
    with pytest.raises(ConversionError, match=message) as refusal:
        tl.convert(model, written(text))
    assert "plan.yaml" in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not tl.conversion(model).converted


def test_other_files_and_rules_are_refused(written, tmp_path):
    with pytest.raises(ConversionError, match=r"Cannot read .*nowhere\.yaml: No such file"):
        tl.convert(net(), tmp_path / "nowhere.yaml")
    with pytest.raises(ConversionError, match="a file and a backward rule"):
        tl.convert(net(), written("backward: tied"), backward="sign")
    with pytest.raises(SpecError, match="Did you mean 'tied'"):
        tl.convert(net(), written("backward: tid"))
    assert issubclass(ConversionError, TielessError)
