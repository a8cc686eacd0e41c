"""Near duplicates: the quick search finds what comparing all with all does."""

from __future__ import annotations

import pytest

from iterft.synth.near import THRESHOLD, NearDuplicates, grams
from iterft.synth.tasks import generate


@pytest.mark.slow
def test_it_agrees_with_comparing_all_with_all() -> None:
    texts = [sample.prompt.messages[0]["content"] for sample in generate(600, seed=8, split="train")]
    texts += [text.replace("please", "now") for text in texts[:150]] + [f"{text} Thanks!" for text in texts[:150]]
    texts += ["", "a", "ab", "abcde", "abcdef", "abcdeg", "Abcdef!"]
    all_grams = [grams(text) for text in texts]
    near = NearDuplicates(texts[:50])
    found = 0
    for at, text in enumerate(texts):
        mine = all_grams[at]
        best = max((len(mine & other) / len(mine | other) for other in all_grams[:at]), default=0.0)
        assert near.similarity(text) == (best if best > THRESHOLD else 0.0), text
        found += best > THRESHOLD
        near.add(text)
    assert 100 < found < len(texts)


def test_case_and_punctuation_do_not_count() -> None:
    near = NearDuplicates()
    near.add("Weather in Oslo, please.")
    assert near.similarity("weather in OSLO please") == 1.0
    assert near.similarity("weather in Oslo") == 0.0
