"""In-batch negatives: the request of one candidate in front of the tools of another, where no call is right.

Whether to call at all is one decision per prompt, and few prompts of a data set say no to it. A request is asked with
its own tools and with those of others; so the same words are answered by a call here and by none there, and all that
differs is what has to decide. Such a prompt costs little: the tools are computed for the other candidate anyway.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from iterft.augment.made import REPLIES, is_single_request, where_none_fits
from iterft.augment.pool import ToolPool
from iterft.data import by_tool_list, in_blocks
from iterft.rollout import seed_of
from iterft.types import Sample

MARK = "+tools of "
"""In the id of a negative, between the id of the sample that asks and that of the one whose tools are shown."""


def in_batch_negatives(
    candidates: Sequence[Sample], share: float, seed: int, fits: Callable[[Sample], bool] = lambda sample: True
) -> list[Sample]:
    """One for `share` of the candidates that need a call and are a single request, those left out for which every other
    list holds a tool like a right one or makes a prompt that does not fit. Those that show the same tools side by
    side."""
    chooser = random.Random(seed_of(seed, "negatives"))
    alike = ToolPool(()).is_alike
    shown = [group[0] for group in by_tool_list(candidates)]
    askable = [sample for sample in candidates if sample.answer and is_single_request(sample.prompt)]
    made = []
    for sample in chooser.sample(askable, round(share * len(askable))):
        used = {call.name for call in sample.answer}
        right = [tool for tool in sample.prompt.tools if tool["name"] in used]
        for other in chooser.sample(shown, len(shown)):
            if any(alike(tool, offered) for tool in right for offered in other.prompt.tools):
                continue
            if fits(found := negative(sample, other)):
                made.append(found)
                break
    return in_blocks(made)


def negative(sample: Sample, other: Sample) -> Sample:
    """The request of `sample` with the tools of `other`."""
    name = f"{sample.id}{MARK}{other.id}"
    return where_none_fits(sample, name, other.prompt.tools, REPLIES[seed_of(name) % len(REPLIES)])


def find(sample_id: str, by_id: Mapping[str, Sample]) -> Sample:
    """The sample of that id, or the negative that `negative` has made of two of them."""
    if sample_id in by_id:
        return by_id[sample_id]
    first, _, second = sample_id.partition(MARK)
    return negative(by_id[first], by_id[second])
