"""xLAM / APIGen, one request a row:

    {"query": text, "tools": JSON string, "answers": JSON string of [{"name", "arguments"}]}

Parameters are a flat {name: {type, description, default}} with Python types. Some sets answer a request that no tool
fits with prose instead of a list, some begin an answer with a think part.
"""

from __future__ import annotations

from iterft.readers.conversation import decisions, message, parted, thought_in
from iterft.readers.parts import Row, RowFault, decoded, read_call, read_tools, row_id, shown, source_of
from iterft.types import Prompt, Sample


def read(row: Row, number: str) -> list[Sample]:
    query, answers = row.get("query"), row.get("answers")
    if not isinstance(query, str) or not query.strip():
        raise RowFault("'query' missing or empty", shown(query))
    tools = read_tools(row.get("tools"))
    name, source, asked = row_id(row, number), source_of(row, "xlam"), message("user", query)
    think_part, answers = parted(answers) if isinstance(answers, str) else ("", answers)
    if isinstance(answers, str) and answers.strip() and answers.lstrip()[0] not in "[{":
        return decisions(name, source, [asked, message("assistant", think_part + answers.strip())], tools)
    listed = decoded(answers, "'answers'")
    calls = [listed] if isinstance(listed, dict) else listed
    if not isinstance(calls, list):
        raise RowFault("'answers' missing or not a list", shown(calls))
    if not calls:
        return [Sample(f"{name}/1", Prompt((asked,), tools), (), source=source, thought=thought_in(think_part))]
    return decisions(name, source, [asked, message("assistant", think_part, list(map(read_call, calls)))], tools)
