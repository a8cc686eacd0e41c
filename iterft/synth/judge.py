"""The model layer of verification: a judge says whether references are right; those it finds wrong are written anew.

Two stages, as in FunRL's preparation of data (arXiv 2508.05118):

1. The judge is asked about results, task and values (`questions`). A reference found wrong is regenerated and judged
   again; one that is still wrong after so many times is dropped, as is a sample whose context is at fault.
2. The reference is a call exactly if a call is due. Whether one is due the judge says without seeing the reference.

Every question is put until a majority of the votes agrees. Rejected samples are kept aside with their reason; so are
those on which the judge gave no useful answer, which are asked about again by the next run. Not here: rules that need
no model; they are cheaper and come first, and once more for references that were regenerated.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from iterft.config import JudgeSettings
from iterft.journal import append_to_journal, read_journal
from iterft.log import Log
from iterft.protocols import ChatFault, ChatModel
from iterft.readers.parts import as_answer
from iterft.setting_rules import validate
from iterft.synth.questions import (
    NEED,
    PROMPTS,
    QUESTIONS,
    VERDICT,
    Question,
    about,
    about_need,
    for_another,
    turn_schema,
)
from iterft.threads import side_by_side
from iterft.types import Message, Sample, ToolCall

KEPT, REGENERATED, NOT_JUDGED = "kept", "kept, regenerated", "not judged"
NEEDLESS_CALL, CALL_IS_DUE = "a call where none is due", "prose where a call is due"


FIRST_WORDS = b'{"key": '
"""What a journal of verdicts begins with."""


@dataclass(frozen=True)
class Judged:
    """`kept`: in their order, with the references that were found right, some of them regenerated. `rejected`: as they
    were given, each with its reason. `counts`: samples by what became of them; they add up to all samples."""

    kept: tuple[Sample, ...]
    rejected: tuple[tuple[Sample, str], ...]
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Outcome:
    """What became of one sample, `sample` as it is now. `reason` is "" if it is kept; `detail` says more to people."""

    sample: Sample
    reason: str = ""
    detail: str = ""
    num_regenerated: int = 0

    @property
    def label(self) -> str:
        return self.reason or (REGENERATED if self.num_regenerated else KEPT)


def judge_all(samples: Sequence[Sample], model: ChatModel, settings: JudgeSettings, log: Log) -> Judged:
    """Judges samples as many at a time as the model takes. With a journal, verdicts that it holds on the very same
    samples, by the same model, questions and settings, are not asked for again. ValueError when a setting or the
    journal is bad, or no request can succeed; what was judged by then is in the journal."""
    validate(settings, "judge.")
    journal = Path(settings.journal) if settings.journal else None
    known = read_verdicts(journal) if journal else {}
    prompts = [path.read_text(encoding="utf-8") for path in sorted(PROMPTS.glob("*.txt"))]
    judged_by = (model.name, settings.votes, settings.max_regenerations, prompts)
    keys = [key_of(sample, judged_by) for sample in samples]
    outcomes = {at: as_outcome(samples[at], known[key]) for at, key in enumerate(keys) if key in known}
    if outcomes:
        log.say(f"judge: {len(outcomes)} of {len(samples)} samples were judged before")
    todo = [at for at in range(len(samples)) if at not in outcomes]
    with log.progress("judge", len(todo)) as advance:

        def finished(place: int, outcome: Outcome) -> None:
            if journal and not outcome.reason.startswith(NOT_JUDGED):
                append_to_journal(journal, as_row(keys[todo[place]], outcome))
            advance()

        fresh = side_by_side(todo, lambda at: judge(samples[at], model, settings), model.concurrency, finished)
    outcomes |= zip(todo, fresh, strict=True)
    judged = summed_up(samples, [outcomes[at] for at in range(len(samples))])
    log.metric("judge", model=model.name, counts=judged.counts)
    told = ", ".join(f"{label} {count}" for label, count in judged.counts.items())
    log.say(f"judge: {len(samples)} samples: {told}")
    return judged


def summed_up(samples: Sequence[Sample], outcomes: Sequence[Outcome]) -> Judged:
    kept = tuple(outcome.sample for outcome in outcomes if not outcome.reason)
    rejected = tuple(
        (sample, f"{outcome.reason}: {outcome.detail}")
        for sample, outcome in zip(samples, outcomes, strict=True)
        if outcome.reason
    )
    return Judged(kept, rejected, dict(Counter(outcome.label for outcome in outcomes).most_common()))


def judge(sample: Sample, model: ChatModel, settings: JudgeSettings) -> Outcome:
    """Both stages for one sample. ValueError when no request can succeed; one that came to nothing is an outcome."""
    try:
        outcome = mended(sample, model, settings)
        return outcome if outcome.reason else consistent(outcome, model, settings)
    except ChatFault as fault:
        return Outcome(sample, f"{NOT_JUDGED} ({fault.reason})", fault.detail)


def mended(sample: Sample, model: ChatModel, settings: JudgeSettings) -> Outcome:
    """Stage 1: the sample with a reference that the judge finds right, or why there is none."""
    num_regenerated = 0
    found = objection(sample, model, settings)
    while found and found[0].is_mendable and num_regenerated < settings.max_regenerations:
        num_regenerated += 1
        sample = regenerate(sample, found[1], model)
        found = objection(sample, model, settings)
    reason, detail = (found[0].reason, found[1]) if found else ("", "")
    return Outcome(sample, reason, detail, num_regenerated)


def objection(sample: Sample, model: ChatModel, settings: JudgeSettings) -> tuple[Question, str] | None:
    """The first question about the reference that the majority answers with "wrong", and what is wrong; None if there
    is none."""
    for question in QUESTIONS:
        if question.concerns(sample):
            verdicts = majority(model, about(sample, question), VERDICT, "verdict", settings.votes)
            if verdicts[0]["verdict"] == "wrong":
                return question, next((said["fault"] for said in verdicts if said["fault"]), "")
    return None


def consistent(outcome: Outcome, model: ChatModel, settings: JudgeSettings) -> Outcome:
    """Stage 2: rejected if the reference calls and no call is due, or the reverse."""
    said = majority(model, about_need(outcome.sample), NEED, "call_is_due", settings.votes)[0]
    if said["call_is_due"] == bool(outcome.sample.answer):
        return outcome
    return replace(outcome, reason=CALL_IS_DUE if said["call_is_due"] else NEEDLESS_CALL, detail=said["reasoning"])


def majority(
    model: ChatModel,
    messages: Sequence[Message],
    schema: Mapping[str, Any],
    vote: str,
    num_votes: int,
) -> list[Any]:
    """The answers that agree with the majority on the key `vote`, whose values are two; `num_votes` is odd. No more
    answers are asked for than it takes."""
    answers: list[Any] = []
    while True:
        answers.append(json.loads(model.chat(messages, (), schema)["content"]))
        winners = [answer for answer in answers if answer[vote] == answers[-1][vote]]
        if len(winners) > num_votes // 2:
            return winners


def regenerate(sample: Sample, fault: str, model: ChatModel) -> Sample:
    """The sample with another reference, whose reasons are not told. Its kind goes where the number of calls is
    another."""
    tools = sample.prompt.tools
    schema = turn_schema(tools)
    turn = json.loads(model.chat(for_another(sample, fault), (), schema)["content"])
    answer = tuple(as_answer(ToolCall(call["name"], call["arguments"]), tools) for call in turn["calls"])
    kind = sample.kind if len(answer) == len(sample.answer) else ""
    return replace(sample, answer=answer, text="" if answer else turn["reply"], kind=kind, thought="")


def key_of(sample: Sample, judged_by: Sequence[Any]) -> str:
    """What a verdict depends on, so that it is not taken for one on anything else."""
    parts = json.dumps([dataclasses.asdict(sample), *judged_by], sort_keys=True, default=str)
    return hashlib.sha256(parts.encode()).hexdigest()[:32]


def as_row(key: str, outcome: Outcome) -> dict[str, Any]:
    """A line of the journal; the reference only where it is another one and kept."""
    row: dict[str, Any] = {
        "key": key,
        "id": outcome.sample.id,
        "reason": outcome.reason,
        "detail": outcome.detail,
        "num_regenerated": outcome.num_regenerated,
    }
    if outcome.label == REGENERATED:
        answer = [dataclasses.asdict(call) for call in outcome.sample.answer]
        row |= {"answer": answer, "text": outcome.sample.text, "kind": outcome.sample.kind}
    return row


def as_outcome(sample: Sample, row: Mapping[str, Any]) -> Outcome:
    if "answer" in row:
        answer = tuple(ToolCall(call["name"], call["arguments"]) for call in row["answer"])
        sample = replace(sample, answer=answer, text=row["text"], kind=row["kind"], thought="")
    return Outcome(sample, row["reason"], row["detail"], row["num_regenerated"])


def read_verdicts(path: Path) -> dict[str, Mapping[str, Any]]:
    """key -> row; makes the file where there is none. ValueError when that fails, or the file is none of ours, which is
    found out before anything in it is touched."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        beginning = path.read_bytes()[: len(FIRST_WORDS)]
    except OSError as error:
        raise ValueError(f"judge.journal {path}: cannot be written ({error.strerror}); give another file") from error
    if not FIRST_WORDS.startswith(beginning):
        raise ValueError(f"judge.journal {path}: holds something else than verdicts; give another file")
    return {row["key"]: row for row in read_journal(path)}
