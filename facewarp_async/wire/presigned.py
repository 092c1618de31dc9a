"""Presigned URLs (protocol, "Presigned URLs"): which may be used, and what the storage's refusals mean."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import parse_qs, urlsplit

from facewarp_async.errors import StorageError, UrlExpiredError
from facewarp_async.redaction import clean_text

_CODE = re.compile(rb"<Code>([^<]{1,80})</Code>")
_MESSAGE = re.compile(rb"<Message>([^<]{1,400})</Message>")
_LAPSED = {"AccessDenied", "ExpiredToken", "RequestExpired"}
_SHOWN_CHARACTERS = 400
_SECRET_PARAMETERS = ("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token")
_URL = re.compile(r"[!-~]+")
"""Printable ASCII: a URL goes on the wire as it is, and nothing in it may end the line there."""

_ORIGIN = re.compile(r"[^:/?#]+://[^/?#]*")


def check_storage_url(url: str, *, allow_plain: bool) -> None:
    """See that a URL from the service is one that a file may be sent to or fetched from.

    Args:
        url: What the service gave.
        allow_plain: Whether it may be plain ``http``, as it may where the API itself is.

    Raises:
        StorageError: It is not.
    """
    origin = _ORIGIN.match(url)
    place = _host_of(origin[0]) if origin is not None and _URL.fullmatch(url) is not None else None
    if place is None:
        raise StorageError("the service gave a presigned URL that is none, or one with credentials")
    scheme, host = place
    if scheme == "http" and not allow_plain:
        raise StorageError(
            f"the service, asked over https, gave a presigned URL over plain http, at {host}: refused; "
            "Provider(allow_plain_storage=True) allows it"
        )


@lru_cache(maxsize=32)
def _host_of(origin: str) -> tuple[str, str] | None:
    """Return a URL's scheme and host; ``None`` where it cannot be used. Thousands of URLs have the same."""
    try:
        parts = urlsplit(origin)
        host = parts.hostname or ""
        host.encode("idna")  # as it will be looked up: raises for a name that is none
        usable = parts.scheme in {"http", "https"} and host and parts.port != 0 and "@" not in parts.netloc
    except ValueError:  # a port or an address that is none
        return None
    return (parts.scheme, host) if usable else None


def parse_storage_error(status: int, body: bytes, *, url: str = "") -> StorageError:
    """Return the error that a storage's refusal means. A 403, or a 400 of some makes of storage, is a URL that lapsed.

    Args:
        status: The HTTP status.
        body: The beginning of the answer's body.
        url: What was asked for, whose signature no message may repeat.
    """
    code_match, message_match = _CODE.search(body), _MESSAGE.search(body)
    code = clean_text(code_match[1].decode("utf-8", "replace")) if code_match else ""
    said = (message_match[1] if message_match else body).decode("utf-8", "replace")
    said = clean_text(said, _secrets_of(url))[:_SHOWN_CHARACTERS]
    message = f"the storage answered HTTP {status}" + (f" {code}" if code else "") + (f": {said}" if said else "")
    is_lapsed = status == 403 or (status == 400 and code in _LAPSED)
    cls = UrlExpiredError if is_lapsed else StorageError
    return cls(message, storage_code=code, http_status=status)


def _secrets_of(url: str) -> list[str]:
    parameters = parse_qs(urlsplit(url).query)
    return [value for name in _SECRET_PARAMETERS for value in parameters.get(name, ())]
