"""When to look at a task again."""

from __future__ import annotations

from attrs import field, frozen, validators

from facewarp_async.config import Provider
from facewarp_async.models import TaskKind

EMPTY_POLLS = 4
"""How often a finished task without a result is looked at again before that is an error (protocol, "Tasks")."""


@frozen(kw_only=True)
class PollPolicy:
    """Look at a task first after half its typical time, then ever more slowly.

    Attributes:
        image_s: The typical time of an image task or a detection, in seconds.
        video_s: The same for a video task.
        factor: By how much each delay is longer than the one before.
        longest_s: The longest delay.
    """

    image_s: float = field(default=6.0, validator=validators.gt(0))
    video_s: float = field(default=90.0, validator=validators.gt(0))
    factor: float = field(default=1.5, validator=validators.ge(1))
    longest_s: float = field(default=60.0, validator=validators.gt(0))

    @classmethod
    def for_provider(cls, provider: Provider) -> PollPolicy:
        """Start from the provider's typical times."""
        return cls(image_s=provider.typical_image_s, video_s=provider.typical_video_s)

    def delay_s(self, kind: TaskKind | None, looks: int) -> float:
        """Return how long to wait before the next look.

        Args:
            kind: What the task makes; an image is assumed where it is not known.
            looks: How often it was looked at.
        """
        typical = self.video_s if kind is not None and kind.is_video else self.image_s
        return float(min(self.longest_s, typical / 2 * self.factor ** max(0, min(looks, 60) - 1)))
