"""What samples and tools have in common with evaluation data: runs of eight words, and names of tools."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from iterft.augment.pool import bare
from iterft.synth.checks import Objection
from iterft.types import Sample

SHARED_WORDS, SHARED_NAME = "words_of_evaluation", "tool_of_evaluation"

NUM_WORDS = 8
"""So many words in a row that are also in a message of a user there are an overlap."""

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Evaluation:
    """What must not be trained on: `runs` of words, and `names` of the reference's tools, without case and signs."""

    runs: frozenset[str]
    names: frozenset[str]


def evaluation_of(samples: Iterable[Sample]) -> Evaluation:
    """Of the samples that a policy will be evaluated on."""
    runs: set[str] = set()
    names: set[str] = set()
    for sample in samples:
        runs.update(run for text in asked(sample) for run in word_runs(text))
        names.update(bare(call.name) for call in sample.answer)
        names.update(bare(str(tool["name"])) for tool in sample.prompt.tools)
    return Evaluation(frozenset(runs), frozenset(names))


def overlap(sample: Sample, runs: frozenset[str]) -> str:
    """The first run of words in the sample's user messages that is known, "" if none is."""
    return next((run for text in asked(sample) for run in word_runs(text) if run in runs), "")


def leaks(sample: Sample, evaluation: Evaluation) -> list[Objection]:
    """What a sample of any origin has in common with evaluation data, by whichever of its tools."""
    run = overlap(sample, evaluation.runs)
    names = (str(tool["name"]) for tool in sample.prompt.tools)
    known = next((name for name in names if bare(name) in evaluation.names), "")
    return [Objection(reason, told) for reason, told in ((SHARED_WORDS, run), (SHARED_NAME, known)) if told]


def asked(sample: Sample) -> Iterator[str]:
    """What the user says, message by message."""
    return (message.get("content") or "" for message in sample.prompt.messages if message["role"] == "user")


def word_runs(text: str) -> Iterator[str]:
    words = _WORD.findall(text.lower())
    return (" ".join(words[start : start + NUM_WORDS]) for start in range(len(words) - NUM_WORDS + 1))
