"""What each id adds to the text, for tokenizers that cut off a blank where a text begins too."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from iterft.tokens import _each_beginning, token_texts

TEXTS = ["I bought some bread and a book in New York, please call back soon."] * 20


def sentencepiece_like() -> Any:
    """Words begin with a blank, unknown characters are bytes, and the first blank is cut off: as Llama 2 and Mistral
    have it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, special_tokens=special))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


@pytest.fixture(params=["byte-level", "sentencepiece-like"])
def any_tokenizer(request: pytest.FixtureRequest, tokenizer: Any) -> Any:
    return tokenizer if request.param == "byte-level" else sentencepiece_like()


class Counting:
    """A tokenizer that counts the ids it is given to decode."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer, self.eos_token_id, self.num_decoded = tokenizer, tokenizer.eos_token_id, 0

    def __call__(self, text: str, **options: Any) -> Any:
        return self.tokenizer(text, **options)

    def decode(self, ids: Sequence[int]) -> str:
        self.num_decoded += len(ids)
        return str(self.tokenizer.decode(ids))


def test_texts_of_random_ids_join_to_what_they_joined_to_when_each_beginning_was_decoded(any_tokenizer: Any) -> None:
    draw = random.Random(0)
    num_same = 0
    for _ in range(300):
        ids = [draw.randrange(3, len(any_tokenizer)) for _ in range(draw.randrange(1, 12))]
        ids = [token for token in ids if token != any_tokenizer.eos_token_id]
        whole, before = any_tokenizer.decode(ids), _each_beginning(any_tokenizer, ids)
        pieces = token_texts(any_tokenizer, ids)
        assert len(pieces) == len(ids)
        if "".join(before) == whole:
            assert "".join(pieces) == whole
            num_same += 1
        if "\ufffd" not in whole:
            assert pieces == before
    assert num_same > 100


@pytest.mark.parametrize("text", ["New York", " two  blanks", "Zürich 日本 😀😀 a", "  ", ""])
def test_texts_of_all_spans_are_those_of_their_beginnings(any_tokenizer: Any, text: str) -> None:
    ids = any_tokenizer(text, add_special_tokens=False).input_ids
    for start in range(len(ids)):
        for stop in range(start + 1, len(ids) + 1):
            if "\ufffd" not in any_tokenizer.decode(ids[start:stop]):
                pieces = token_texts(any_tokenizer, ids[start:stop])
                assert pieces == _each_beginning(any_tokenizer, ids[start:stop])


def test_reading_a_turn_after_every_token_decodes_it_once_each_time(any_tokenizer: Any) -> None:
    tokenizer = Counting(any_tokenizer)
    ids = any_tokenizer(" ".join(TEXTS), add_special_tokens=False).input_ids[:120]
    for length in range(1, len(ids) + 1):
        token_texts(tokenizer, ids[:length])
    once = len(ids) * (len(ids) + 1) // 2
    assert tokenizer.num_decoded <= once + 20 * len(ids)
