"""Signature V4 in a URL's query, as S3 and R2 do it: signing and verifying, without a socket or a clock.

The verifier is stricter than S3 in one place. S3 decodes the query and encodes it again before it checks the
signature; here the query and the path are taken byte for byte as they came, so that a client which encodes a
presigned URL anew is found out (protocol, "Presigned URLs").
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote

from attrs import field, frozen

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED = "UNSIGNED-PAYLOAD"
MAX_EXPIRY_S = 7 * 24 * 3600
MAX_SKEW = timedelta(minutes=15)
_DATE = "%Y%m%dT%H%M%SZ"
_UNRESERVED = "-_.~"


@frozen(kw_only=True)
class SigningKey:
    """An access key with its secret, and the region that goes into the scope (``auto`` on R2)."""

    access_key: str
    secret: str = field(repr=False)
    region: str = "auto"


class SignatureError(Exception):
    """A request that the storage refuses, with the HTTP status, S3's code and its message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def presign(method: str, path: str, *, origin: str, key: SigningKey, now: datetime, expires_s: int) -> str:
    """Return a URL that allows one method on one path until its expiry.

    Args:
        method: The HTTP method.
        path: The decoded path, with its slash in front.
        origin: Scheme and host, with the port as the ``Host`` header will have it.
        key: What to sign with.
        now: The moment of signing.
        expires_s: For how many seconds the URL is valid.
    """
    date = now.astimezone(UTC).strftime(_DATE)
    values = {
        "X-Amz-Content-Sha256": UNSIGNED,
        "X-Amz-Algorithm": ALGORITHM,
        "X-Amz-Credential": f"{key.access_key}/{_scope(date[:8], key.region)}",
        "X-Amz-Date": date,
        "X-Amz-SignedHeaders": "host",
        "X-Amz-Expires": str(expires_s),
    }
    query = "&".join(f"{name}={quote(value, safe=_UNRESERVED)}" for name, value in values.items())
    raw_path = quote(path, safe="/" + _UNRESERVED)
    headers = {"host": origin.partition("://")[2]}
    request = _canonical_request(method, raw_path, query, headers=headers, signed=["host"], payload=UNSIGNED)
    signature = _signature(request, date=date, key=key)
    return f"{origin}{raw_path}?{query}&X-Amz-Signature={signature}"


def verify(
    method: str, raw_path: str, *, raw_query: str, headers: Mapping[str, str], key: SigningKey, now: datetime
) -> None:
    """Check a request's query signature.

    Args:
        method: The HTTP method.
        raw_path: The path, encoded as it came.
        raw_query: The query, encoded as it came.
        headers: The request's headers; names in any case if the mapping ignores it, else in lower case.
        key: What the URL must have been signed with.
        now: The moment of checking.

    Raises:
        SignatureError: The request is anonymous, altered, expired or not understood.
    """
    query = _parse_query(raw_query)
    if "X-Amz-Signature" not in query:
        raise SignatureError(403, "AccessDenied", "Access Denied")
    signed_at, region = _check_terms(query, key=key, now=now)
    signed = query["X-Amz-SignedHeaders"].split(";")
    request = _canonical_request(
        method,
        raw_path,
        raw_query,
        headers=headers,
        signed=signed,
        payload=query.get("X-Amz-Content-Sha256", UNSIGNED),
    )
    key = SigningKey(access_key=key.access_key, secret=key.secret, region=region)
    expected = _signature(request, date=signed_at, key=key)
    if not hmac.compare_digest(expected.encode(), _encode(query["X-Amz-Signature"])):
        raise SignatureError(
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided",
        )


def _parse_query(raw_query: str) -> dict[str, str]:
    pairs = [part.partition("=") for part in raw_query.split("&") if part]
    query = {unquote(name): unquote(value) for name, _, value in pairs}
    if len(query) != len(pairs):
        raise _wrong_query("a query parameter is repeated")
    return query


def _check_terms(query: Mapping[str, str], *, key: SigningKey, now: datetime) -> tuple[str, str]:
    """Check all but the signature, and return the date and the region that were signed."""
    try:
        access_key, day, region, service, terminator = query["X-Amz-Credential"].rsplit("/", 4)
        date, expires_s = query["X-Amz-Date"], int(query["X-Amz-Expires"])
        signed_at = datetime.strptime(date, _DATE).replace(tzinfo=UTC)
        signed_headers = query["X-Amz-SignedHeaders"].split(";")
    except (KeyError, ValueError):
        raise _wrong_query("a query parameter of the signature is missing or malformed") from None
    if query.get("X-Amz-Algorithm") != ALGORITHM or (service, terminator) != ("s3", "aws4_request"):
        raise _wrong_query(f"only {ALGORITHM} for s3 is supported")
    if query.get("X-Amz-Content-Sha256", UNSIGNED) != UNSIGNED:
        raise _wrong_query(f"only {UNSIGNED} is supported")
    if not 0 < expires_s <= MAX_EXPIRY_S:
        raise _wrong_query("X-Amz-Expires must be between 1 second and a week (604800 seconds)")
    if day != date[:8] or "host" not in signed_headers:
        raise _wrong_query("the scope's day must be the date's, and host must be signed")
    if access_key != key.access_key:
        raise SignatureError(403, "InvalidAccessKeyId", "The access key id you provided does not exist in our records")
    age = now - signed_at
    if age > timedelta(seconds=expires_s):
        raise SignatureError(403, "AccessDenied", "Request has expired")
    if age < -MAX_SKEW:
        raise SignatureError(403, "AccessDenied", "Request is not yet valid")
    return date, region


def _wrong_query(message: str) -> SignatureError:
    return SignatureError(400, "AuthorizationQueryParametersError", message)


def _canonical_request(
    method: str, raw_path: str, raw_query: str, *, headers: Mapping[str, str], signed: list[str], payload: str
) -> str:
    parts = sorted(part for part in raw_query.split("&") if part and not part.startswith("X-Amz-Signature="))
    lines = [f"{name}:{' '.join(headers.get(name, '').split())}\n" for name in signed]
    return "\n".join([method, raw_path, "&".join(parts), "".join(lines), ";".join(signed), payload])


def _scope(day: str, region: str) -> str:
    return f"{day}/{region}/s3/aws4_request"


def _signature(canonical_request: str, *, date: str, key: SigningKey) -> str:
    scope = _scope(date[:8], key.region)
    digest = hashlib.sha256(_encode(canonical_request)).hexdigest()
    derived = b"AWS4" + key.secret.encode()
    for part in scope.split("/"):
        derived = _hmac(derived, part)
    return _hmac(derived, "\n".join([ALGORITHM, date, scope, digest])).hex()


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.new(key, _encode(message), hashlib.sha256).digest()


def _encode(text: str) -> bytes:
    """Return the bytes that came over the wire, text or not."""
    return text.encode("utf-8", "surrogateescape")
