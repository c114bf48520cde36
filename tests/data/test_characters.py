import string

import pytest
import torch
from hypothesis import given, strategies as st

from tieless.data.characters import CHARACTERS, decode, encode
from tieless.errors import RuleValueError

TEXTS = st.text(st.sampled_from(CHARACTERS))


def test_the_vocabulary_has_every_letter_and_digit_once_in_the_order_of_ascii():
    assert len(CHARACTERS) == len(set(CHARACTERS)) == 85
    assert "".join(sorted(CHARACTERS)) == CHARACTERS
    assert set(string.ascii_letters + string.digits + " \n.,;:?!") < set(CHARACTERS)


@given(text=TEXTS)
def test_codes_give_the_text_back(text):
    codes = encode(text)
    assert codes.dtype == torch.int64
    assert codes.tolist() == [CHARACTERS.index(character) for character in text]
    assert decode(codes) == text


@given(text=TEXTS)
def test_a_text_as_bytes_has_the_same_codes(text):
    assert torch.equal(encode(torch.tensor(list(text.encode()), dtype=torch.uint8)), encode(text))


@pytest.mark.parametrize("text", ["naïve", "na\tve", "na\0ve", "na@ve", "na€ve"])
def test_another_character_is_refused_by_its_place(text):
    with pytest.raises(RuleValueError, match="Character 2 of the text is not in the vocabulary, which has 85"):
        encode(text)


@pytest.mark.parametrize("codes", [[-1, 3], [0, 85]])
def test_another_code_is_refused(codes):
    with pytest.raises(RuleValueError, match=f"codes must be 0 to 84, got {codes[0]} to {codes[1]}"):
        decode(torch.tensor(codes))
