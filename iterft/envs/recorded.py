"""The world of recorded conversations: the sample asks for one turn, nothing is executed, and the trajectory ends."""

from __future__ import annotations

from iterft.types import Sample, Trajectory, Turn


class RecordedEnvironment:
    """One decision per sample."""

    def reset(self, sample: Sample) -> Trajectory:
        return Trajectory(sample)

    def step(self, state: Trajectory, action: Turn) -> tuple[Trajectory, tuple[str, ...], bool]:
        return Trajectory(state.sample, (*state.turns, action), (*state.observations, ())), (), True
