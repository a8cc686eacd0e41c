"""A small world for tests of the search: two tools, three samples, and a policy that speaks from a script."""

from __future__ import annotations

from collections.abc import Mapping

from iterft.chat import Dialect
from iterft.dialects.hermes import HERMES
from iterft.envs.recorded import RecordedEnvironment
from iterft.policies.scripted import ScriptedPolicy
from iterft.rewards.call_match import CallMatch
from iterft.rollout import World, reference_turns
from iterft.types import Checked, Prompt, Sample, ToolCall, Tree


def tool(name: str, **kinds: str) -> dict[str, object]:
    properties = {key: {"type": kind} for key, kind in kinds.items()}
    return {"name": name, "parameters": {"type": "object", "properties": properties, "required": list(kinds)}}


TOOLS = (tool("weather", city="string", days="integer"), tool("book", city="string", seats="integer"))


def call(name: str, **arguments: object) -> ToolCall:
    return ToolCall(name, arguments)


def sample_of(name: str, *answer: ToolCall, text: str = "") -> Sample:
    """A sample whose accepted values are just those of `answer`."""
    accepted = tuple(ToolCall(one.name, {key: [value] for key, value in one.arguments.items()}) for one in answer)
    return Sample(name, Prompt(({"role": "user", "content": name},), TOOLS), accepted, text)


PARIS, ROME = call("weather", city="Paris", days=3), call("weather", city="Rome", days=1)
ONE = sample_of("one", PARIS)
TWO = sample_of("two", PARIS, ROME)
NONE = sample_of("none", text="I cannot do that.")
HARD = sample_of("hard", call("book", city="Oslo", seats=2))
SAMPLES = (ONE, TWO, NONE, HARD)

WORDS = "Let me think about it."


def scripts(dialect: Dialect) -> dict[str, dict[str, float]]:
    """Per sample id the turns of the policy: some right, some with a first error early or late, `HARD` never right."""
    write = dialect.render
    return {
        "one": {
            write([PARIS]): 2,
            write([call("weather", city="Paris", days=4)]): 3,
            write([call("weather", city="London", days=3)]): 2,
            write([call("book", city="Paris", seats=3)]): 2,
            write([PARIS, PARIS]): 1,
            WORDS: 1,
        },
        "two": {
            write([PARIS, ROME]): 1,
            write([ROME, PARIS]): 1,
            write([PARIS]): 3,
            write([PARIS, call("weather", city="Rome", days=2)]): 3,
            write([call("weather", city="Paris")]): 1,
        },
        "none": {"I cannot do that.": 2, write([PARIS]): 3, write([call("book", city="Paris", seats=1)]): 1},
        "hard": {write([call("book", city="Oslo", seats=9)]): 3, write([PARIS]): 1, WORDS: 1},
    }


def part(text: str, tag: str) -> str:
    """What stands between the tags, "" where they are missing."""
    return text.partition(f"<{tag}>\n")[2].partition(f"\n</{tag}>")[0]


def world_of(dialect: Dialect = HERMES) -> World:
    return World(dialect, RecordedEnvironment(), CallMatch())


def policy_of(dialect: Dialect = HERMES, turns: Mapping[str, Mapping[str, float]] | None = None) -> ScriptedPolicy:
    """Speaks the script of the sample whose id stands in the prompt."""
    script = turns or scripts(dialect)
    return ScriptedPolicy(
        lambda prompt: next(turns for name, turns in script.items() if f'"content": "{name}"' in prompt)
    )


def weak_of(sample: Sample, policy: ScriptedPolicy, num_samples: int = 3, dialect: Dialect = HERMES) -> Checked:
    """The sample as the deficiency check hands it to the search, with turns it has sampled."""
    (completions,) = policy.sample([policy.render(sample.prompt)], [num_samples], 1.0, [11])
    return Checked(sample, 2.0, 0.5, {}, tuple(completions), *reference_turns(policy, world_of(dialect), [sample]))


def text_of(ids: tuple[int, ...]) -> str:
    """What ids of the scripted policy spell."""
    return "".join(chr(token) for token in ids if token)


def texts_below(tree: Tree, index: int) -> list[str]:
    return [text_of(tree.nodes[child].step.ids) for child in tree.nodes[index].children]


class MemoryJournal:
    """Keeps trees like the journal of a run folder, without the folder."""

    def __init__(self, *trees: Tree) -> None:
        self.trees = {tree.sample_id: tree for tree in trees}
        self.appended: list[str] = []

    def read(self) -> dict[str, Tree]:
        return dict(self.trees)

    def append(self, tree: Tree) -> None:
        self.appended.append(tree.sample_id)
        self.trees[tree.sample_id] = tree
