"""API calls that arrive: authorised, paced, repeated where that is safe, and ended by a value or a typed error."""

from facewarp_async.session.api import ApiSession, Sending
from facewarp_async.session.pacer import Pacer

__all__ = ["ApiSession", "Pacer", "Sending"]
