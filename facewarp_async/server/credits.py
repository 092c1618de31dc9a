"""What a service lets its callers spend."""

from __future__ import annotations

from facewarp_async.server.answers import Refusal


class Credits:
    """Credits that are left; ``None`` for no end of them. Each task that is created costs one."""

    def __init__(self, left: int | None) -> None:
        self.left = left

    def take(self) -> None:
        """Pay for a task.

        Raises:
            Refusal: 801, there are none left.
        """
        if self.left is None:
            return
        if self.left <= 0:
            raise Refusal(801)
        self.left -= 1

    def give_back(self) -> None:
        """Take back the payment for a task that was not created after all."""
        if self.left is not None:
            self.left += 1
