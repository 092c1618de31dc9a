"""How long a test waits for what is promised within some seconds."""

from __future__ import annotations

import os


def seconds(promised: float) -> float:
    """Return the time that so many seconds of a machine with nothing else to do may take on this one, now."""
    return promised * (1.0 + os.getloadavg()[0] / (os.cpu_count() or 1))
