"""API calls that arrive: authorised, paced, repeated where that is safe, and ended by a value or a typed error."""

from facewarp_async.session.api import ApiSession, Sending
from facewarp_async.session.pacer import Pace, Pacer, Turn

__all__ = ["ApiSession", "Pace", "Pacer", "Sending", "Turn"]
