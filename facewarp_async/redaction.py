"""Taking secrets out of text. A leaf of the package: everything that prints a URL goes through here."""

from __future__ import annotations

import re
from collections.abc import Iterable

_SECRET_PARAMETER = re.compile(r"(X-Amz-(?:Signature|Credential|Security-Token)=)[^&\s\"'<>]+", re.IGNORECASE)
_BEARER = re.compile(r"(Bearer\s+)[^\s\"'<>,]+", re.IGNORECASE)
_MASK = "***"


def redact_url(url: str) -> str:
    """Return a URL's repr without what signs it."""
    return repr(redact_text(url))


def redact_text(text: str, secrets: Iterable[str] = ()) -> str:
    """Take URL signatures, bearer tokens and the given secrets out of a text."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, _MASK)
    text = _SECRET_PARAMETER.sub(rf"\1{_MASK}", text)
    return _BEARER.sub(rf"\1{_MASK}", text)
