"""Faults of what is said: reason -> plants, each another way to break the rule (see `places`)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from places import Plant, Rewrite, amid, in_words, plainly, with_message, with_messages

from iterft.types import Sample

FOREIGN = (
    "Извините, для этого нет подходящего инструмента.",
    "对不起。我没有可以完成这件事情的工具。请您谅解。",
    "申し訳ありませんが、そのためのツールはありません。",
    "죄송하지만 그 일을 할 수 있는 도구가 없습니다.",
    "Λυπάμαι, δεν υπάρχει κατάλληλο εργαλείο εδώ.",
    "عذرا، ليس لدي أداة مناسبة لما تطلبه مني.",
    "सॉरी, मेरे पास इसके लिए कोई साधन नहीं है जी।",
    "מצטער, אין לי כלי מתאים לבקשה הזאת שלך.",
)
LANGUAGES = re.compile(r"langu|transl|pronounce|chin|japan|korea|russia|arab|greek|hindi|thai|hebrew", re.IGNORECASE)
DANGLING = {"a", "an", "and", "the", "of", "with", "because", "which", "but", "or", "is", "are", "your", "from"}
ENDS = (" and", " because", ",", ", which", " -", ": the", " of your", ";", " but ")
OPENED = ("(that is,", "[see", "{so", "```json", "```")
MISREAD_BYTES = tuple(
    words.encode().decode(wrong)
    for wrong in ("cp1252", "latin-1")
    for words in ("Zoë", "café", "Müller", "São", "señor", "Besançon", "it\u2019s", "\u201cso", "now \u2013 or", "£3")
)
"""Words as they look when their bytes are read in the wrong encoding."""
MARKS = (
    "<|im_end|>", "<|im_start|>", "<|eot_id|>", "<|assistant|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "</s>", "<<SYS>>",
    "<tool_call>", "</tool_call>", "<tool_response>", "<functioncall>",
)  # fmt: skip
BLANKS = (
    "[your name]", "[insert date here]", "{{city}}", "{{ user_name }}", "<insert address>", "<your email>",
)  # fmt: skip
CONTROLS = ("\x00", "\x01", "\x07", "\x08", "\x0b", "\x0c", "\x1b", "\x7f", "\ud83d")


def nobody_speaks(sample: Sample, random: Random) -> Sample | None:
    """What users say is left out of a dialogue in which tools have answered, and nobody else."""
    messages = sample.prompt.messages
    asks = any(message["role"] == "assistant" and not message.get("tool_calls") for message in messages)
    if messages[-1]["role"] != "tool" or asks:
        return None
    return with_messages(sample, [message for message in sample.prompt.messages if message["role"] != "user"])


def says_nothing(text: object) -> Plant:
    def change(sample: Sample, random: Random) -> Sample | None:
        numbers = [at for at, message in enumerate(sample.prompt.messages) if message["role"] == "user"]
        return with_message(sample, random.choice(numbers), content=text)

    return plainly(change)


def without_calls(sample: Sample, random: Random) -> Sample | None:
    """One more turn in which the assistant says nothing."""
    if sample.prompt.messages[-1]["role"] != "user":
        return None
    *before, last = sample.prompt.messages
    empty = {"role": "assistant", "content": random.choice(("", " ", "\n"))}
    return with_messages(sample, (*before, {"role": "user", "content": "Hello!"}, empty, last))


def at_length(text: str, random: Random) -> str:
    """Goes on for more than 20,000 characters, and never says the same again."""
    return f"{text} {' '.join(str(number) for number in random.sample(range(10**5, 10**6), 3000))}"


def anywhere(inserted: Sequence[str]) -> Rewrite:
    """One of these between two of the characters."""

    def rewrite(text: str, random: Random) -> str:
        at = random.randint(0, len(text))
        return text[:at] + random.choice(inserted) + text[at:]

    return rewrite


def in_another_script(sample: Sample, random: Random) -> Sample | None:
    """The user asks in Latin letters and in no foreign language's name, the reply is in another script."""
    asked = " ".join(message["content"] for message in sample.prompt.messages if message["role"] == "user")
    if sample.answer or not sample.text or len(asked) < 40 or LANGUAGES.search(asked):
        return None
    return replace(sample, text=random.choice(FOREIGN))


def asked_in_another_script(sample: Sample, random: Random) -> Sample | None:
    """The user asks in another script, the reply is in Latin letters."""
    if sample.answer or len(sample.text) < 20 or [m["role"] for m in sample.prompt.messages].count("user") != 1:
        return None
    return with_message(sample, 0, content=random.choice(FOREIGN))


def cut(text: str, random: Random) -> str | None:
    """Cut behind a word after which something must come."""
    words = text.split(" ")
    ends = [at for at in range(2, len(words)) if words[at - 1].lower() in DANGLING or words[at - 1].endswith(",")]
    if not ends or set(text) & set("([{"):
        return None
    return " ".join(words[: random.choice(ends)])


def going_on(text: str, random: Random) -> str:
    return text.rstrip(".!? ") + random.choice(ENDS)


def said_over_and_over(text: str, random: Random) -> str | None:
    sentences = [part.strip() for part in re.split(r"[.!?\n]+", text) if len(part.split()) >= 4]
    if not sentences:
        return None
    sentence, end = random.choice(sentences), random.choice((". ", "!\n", "\n"))
    return text + end + (sentence + end) * random.randint(4, 8)


FAULTS: Mapping[str, Sequence[Plant]] = {
    "no_user_message": [plainly(nobody_speaks)],
    "empty_message": [*(says_nothing(text) for text in ("", "  ", "\n", None)), plainly(without_calls)],
    "nothing_to_learn": [in_words(lambda words, random, text=text: text, "reply") for text in ("", " ", "\n\t")],
    "too_long": [in_words(at_length, who) for who in ("user", "reply", "assistant")],
    "control_characters": [in_words(anywhere(CONTROLS), who) for who in ("user", "reply", "assistant")],
    "broken_encoding": [in_words(amid((*MISREAD_BYTES, "\ufffd")), who) for who in ("user", "reply", "assistant")],
    "template_marks": [in_words(amid(MARKS), who) for who in ("user", "reply", "assistant")],
    "placeholder_text": [in_words(amid(BLANKS), who) for who in ("user", "reply", "assistant")],
    "mixed_languages": [plainly(in_another_script), plainly(asked_in_another_script)],
    "unfinished_reply": [in_words(rewrite, "reply", "assistant") for rewrite in (cut, going_on)],
    "unclosed_text": [in_words(amid(OPENED), who) for who in ("reply", "assistant")],
    "looping_text": [in_words(said_over_and_over, "reply", "assistant")],
}
