"""FunRL's binary reward (arXiv 2508.05118, Eq. 3): the template and the calls, all or nothing.

1 only if the turn begins with a closed think part and makes the calls of the reference, as `call_match` has it. Where
no call is right, 1 if the reply does not parse as calls, whatever else it is: so the paper, and so BFCL's irrelevance.
Not here: a part of the reward for the form alone, which did harm in the paper's ablation.
"""

from __future__ import annotations

from dataclasses import dataclass

from iterft.rewards.call_match import CallMatch
from iterft.types import PartialTurn, Reward, Sample, Trajectory

MATCH = CallMatch()


@dataclass(frozen=True)
class TemplateMatch:
    """`protocols.Verifier`. A turn without a think part is "unparsable"."""

    def __call__(self, trajectory: Trajectory) -> Reward:
        sample, turn = trajectory.sample, trajectory.turns[-1]
        if not sample.answer:
            return Reward(0.0, "unneeded_call") if turn.calls else Reward(1.0)
        if turn.thought is None:
            return Reward(0.0, "unparsable")
        return MATCH(trajectory)

    def explain(self, trajectory: Trajectory) -> str:
        """One sentence for people on why the last turn fails; "" when it passes."""
        reward = self(trajectory)
        if reward.value == 1.0:
            return ""
        if trajectory.turns[-1].thought is None and reward.reason == "unparsable":
            return "The turn does not begin with a closed think part."
        return MATCH.explain(trajectory)

    def objection(self, sample: Sample, partial: PartialTurn) -> str:
        """ "" while some accepted answer still continues `partial`, else the named reason."""
        if not sample.answer:
            return "unneeded_call" if partial.calls else ""
        if partial.thought is None and (partial.in_call or partial.calls or partial.content or partial.finished):
            return "unparsable"
        return MATCH.objection(sample, partial)
