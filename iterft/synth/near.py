"""Near duplicates: texts whose sets of character 5-grams have a Jaccard similarity above 0.8.

Exact, and quick by prefix filtering (Chaudhuri et al. 2006; longer prefixes with more in common, Wang et al. 2012): if
two sets are that similar, their first grams, in any one order of all grams, have some in common. The order puts grams
first that are rare in examples of such texts. Case and punctuation do not count.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache
from itertools import chain

GRAM = 5
THRESHOLD = 0.8

_NOT_WORD = re.compile(r"\W+")
_NUM_COMMON = 6
"""So many grams of their beginnings two similar texts must share; more makes beginnings longer and candidates fewer."""


class NearDuplicates:
    """The texts so far. `examples`: texts of the same sort, which only decide how quick it is."""

    def __init__(self, examples: Iterable[str] = ()) -> None:
        self.frequency = Counter(chain.from_iterable(map(grams, examples)))
        self.texts: list[frozenset[str]] = []
        self.by_gram: dict[str, list[int]] = {}
        self._read = lru_cache(maxsize=4)(self._grams_and_beginning)  # what is new is looked up and then added

    def similarity(self, text: str) -> float:
        """The highest similarity to a text so far, 0 when it is at most the threshold."""
        own, beginning = self._read(text)
        lists = [self.by_gram[gram] for gram in beginning if gram in self.by_gram]
        least, most = len(own) * THRESHOLD, len(own) / THRESHOLD
        needed = min(_NUM_COMMON, int(least) + 1)  # no more than two sets of that similarity share at least
        best = 0.0
        for index, num_common in Counter(chain.from_iterable(lists)).items():
            if num_common >= needed and least < len(other := self.texts[index]) < most:
                num_shared = len(own & other)
                best = max(best, num_shared / (len(own) + len(other) - num_shared))
        return best if best > THRESHOLD else 0.0

    def add(self, text: str) -> None:
        own, beginning = self._read(text)
        for gram in beginning:
            self.by_gram.setdefault(gram, []).append(len(self.texts))
        self.texts.append(own)

    def _grams_and_beginning(self, text: str) -> tuple[frozenset[str], list[str]]:
        """The grams, and so many of them, the rarest first, that a similar set shares the number needed with them."""
        own = grams(text)
        ordered = sorted(sorted(own), key=self.frequency.__getitem__)
        return own, ordered[: len(own) - int(THRESHOLD * len(own)) + _NUM_COMMON]


def grams(text: str) -> frozenset[str]:
    """All runs of five characters of the text in lower case, words with one blank between; of a shorter one, itself."""
    plain = _NOT_WORD.sub(" ", text.lower()).strip()
    return frozenset(plain[start : start + GRAM] for start in range(max(1, len(plain) - GRAM + 1)))
