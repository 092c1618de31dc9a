"""Taking secrets, and what a terminal would obey, out of text. A leaf: all text from outside goes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SECRET_PARAMETER = re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)(?:=|%3D))[^&\s\"'<>]+", re.IGNORECASE)
_BEARER = re.compile(r"(Bearer\s+)[^\s\"'<>,]+", re.IGNORECASE)
_SECRET_FIELD = re.compile(
    r"""((?:access_token|refresh_token|client_secret)["']?\s*[:=]\s*["']?)[^"'&\s,}]+""", re.IGNORECASE
)
_URL_PASSWORD = re.compile(r"(://[^\s/:@'\"]*:)[^\s/'\"]+(?=@)")
_MASK = "***"
_BREAKS = re.compile(r"[\t\n\v\f\r\x85\u2028\u2029]+")
_OBEYED = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_LONGEST_SHOWN = 500


def redact_url(url: str) -> str:
    """Return a URL's repr without what signs it."""
    return repr(redact_text(url))


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Take URLs' signatures and passwords, bearer tokens and the given secrets out of a text."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _MASK)
    for pattern in (_SECRET_PARAMETER, _BEARER, _SECRET_FIELD, _URL_PASSWORD):
        text = pattern.sub(rf"\1{_MASK}", text)
    return text


def clean_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Make a text from outside fit to be shown: without secrets, on one line, not endless.

    What a terminal would obey instead of showing it (escapes, a change of the direction of writing) and what cannot
    be encoded becomes ``U+FFFD``.
    """
    text = _OBEYED.sub("\ufffd", _BREAKS.sub(" ", redact_text(text, secrets)))
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"
