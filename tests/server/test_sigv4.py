"""Signing and verifying presigned URLs, with botocore as the oracle."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.server.sigv4 import SignatureError, SigningKey, presign, verify

KEY = SigningKey(access_key="AKID", secret="secret/with+signs")
NOW = datetime(2024, 8, 16, 11, 25, 27, tzinfo=UTC)
ORIGIN = "http://127.0.0.1:8080"
PATHS = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=("Cs", "Cc")), min_size=1
).map(lambda text: "/storage/b/" + text)
EXPIRIES = st.integers(1, 604_800)


class _Auth(S3SigV4QueryAuth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer with a clock that can be set."""

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = NOW.strftime("%Y%m%dT%H%M%SZ")
        self._modify_request_before_signing(request)
        string = self.string_to_sign(request, self.canonical_request(request))
        self._inject_signature_to_request(request, self.signature(string, request))


def sign_by_botocore(method: str, url: str, expires_s: int, headers: dict[str, str] | None = None) -> str:
    request = AWSRequest(method=method, url=url, headers=headers or {})
    _Auth(Credentials(KEY.access_key, KEY.secret), "s3", KEY.region, expires=expires_s).add_auth(request)
    signed: str = request.url
    return signed


def check(method: str, url: str, *, now: datetime = NOW, key: SigningKey = KEY, **headers: str) -> None:
    parts = urlsplit(url)
    verify(
        method,
        parts.path,
        raw_query=parts.query,
        headers={"host": parts.netloc, **{name.replace("_", "-"): value for name, value in headers.items()}},
        key=key,
        now=now,
    )


@pytest.fixture
def url() -> str:
    return presign("PUT", "/storage/b/k.png", origin=ORIGIN, key=KEY, now=NOW, expires_s=1800)


@given(PATHS, EXPIRIES, st.sampled_from(["GET", "PUT", "HEAD"]))
def test_verifies_what_botocore_signs(path: str, expires_s: int, method: str) -> None:
    """Any key and expiry signed by botocore is accepted."""
    encoded = urlsplit(presign(method, path, origin=ORIGIN, key=KEY, now=NOW, expires_s=1)).path
    check(method, sign_by_botocore(method, ORIGIN + encoded, expires_s))


@given(PATHS, EXPIRIES)
def test_signs_as_botocore_does(path: str, expires_s: int) -> None:
    """The signature is the one that botocore computes over the same query."""
    ours = presign("PUT", path, origin=ORIGIN, key=KEY, now=NOW, expires_s=expires_s)
    check("PUT", ours)
    bare = ours.partition("?")[0] + "?X-Amz-Content-Sha256=UNSIGNED-PAYLOAD"
    theirs = sign_by_botocore("PUT", bare, expires_s)
    assert sorted(urlsplit(ours).query.split("&")) == sorted(urlsplit(theirs).query.split("&"))


def test_looks_like_the_vendors_urls(url: str) -> None:
    """The query has the vendors' parameters in their order, with the credential's slashes encoded."""
    names = [part.partition("=")[0].removeprefix("X-Amz-") for part in urlsplit(url).query.split("&")]
    assert names == ["Content-Sha256", "Algorithm", "Credential", "Date", "SignedHeaders", "Expires", "Signature"]
    assert "X-Amz-Credential=AKID%2F20240816%2Fauto%2Fs3%2Faws4_request&" in url


def test_signed_headers_count() -> None:
    """A content type that was signed must come with the request, unchanged."""
    url = sign_by_botocore("PUT", ORIGIN + "/storage/b/k", 60, {"Content-Type": "image/png"})
    check("PUT", url, content_type="image/png")
    with pytest.raises(SignatureError, match="does not match"):
        check("PUT", url, content_type="text/html")


@given(st.data())
def test_any_changed_character_is_refused(data: st.DataObject) -> None:
    """No character of path or query can be changed without the signature failing."""
    url = presign("PUT", "/storage/b/k.png", origin=ORIGIN, key=KEY, now=NOW, expires_s=1800)
    place = data.draw(st.integers(len(ORIGIN) + 1, len(url) - 1))
    other = data.draw(st.sampled_from("0aZ~"))
    changed = url[:place] + other + url[place + 1 :]
    if changed != url:
        with pytest.raises(SignatureError):
            check("PUT", changed)


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        (("X-Amz-Signature=", "X-Amz-Signature=0"), 403, "SignatureDoesNotMatch"),
        (("k.png", "other.png"), 403, "SignatureDoesNotMatch"),
        (("%2F", "/"), 403, "SignatureDoesNotMatch"),
        (("%2F", "%2f"), 403, "SignatureDoesNotMatch"),
        (("X-Amz-Expires=1800", "X-Amz-Expires=3600"), 403, "SignatureDoesNotMatch"),
        (("X-Amz-Expires=1800", "X-Amz-Expires=604801"), 400, "AuthorizationQueryParametersError"),
        (("X-Amz-Expires=1800", "X-Amz-Expires=0"), 400, "AuthorizationQueryParametersError"),
        (("X-Amz-Expires=1800", "X-Amz-Expires=soon"), 400, "AuthorizationQueryParametersError"),
        (("X-Amz-Expires=1800&", ""), 400, "AuthorizationQueryParametersError"),
        (("X-Amz-Date=2024", "X-Amz-Date=2025"), 400, "AuthorizationQueryParametersError"),
        (("SHA256&", "SHA512&"), 400, "AuthorizationQueryParametersError"),
        (("%2Fs3%2F", "%2Fec2%2F"), 400, "AuthorizationQueryParametersError"),
        (("Headers=host", "Headers=date"), 400, "AuthorizationQueryParametersError"),
        (("Sha256=UNSIGNED-PAYLOAD", "Sha256=abc"), 400, "AuthorizationQueryParametersError"),
        (("=AKID%2F", "=OTHER%2F"), 403, "InvalidAccessKeyId"),
        (("?", "?x-id=PutObject&"), 403, "SignatureDoesNotMatch"),
        (("?", "?X-Amz-Expires=1800&"), 400, "AuthorizationQueryParametersError"),
    ],
)
def test_refuses_altered_urls(url: str, change: tuple[str, str], status: int, code: str) -> None:
    """Each alteration is refused with S3's status and code."""
    with pytest.raises(SignatureError) as caught:
        check("PUT", url.replace(*change))
    assert (caught.value.status, caught.value.code) == (status, code)


def test_refuses_another_method_secret_and_nobody(url: str) -> None:
    """A URL is good for its method alone, and only the holder of the secret can make one."""
    with pytest.raises(SignatureError, match="does not match"):
        check("GET", url)
    with pytest.raises(SignatureError, match="does not match"):
        check("PUT", url, key=SigningKey(access_key=KEY.access_key, secret="other"))
    with pytest.raises(SignatureError, match="Access Denied"):
        check("PUT", url.partition("?")[0])


def test_expires_to_the_second(url: str) -> None:
    """A URL is valid until its expiry, and not before its date by more than clocks may differ."""
    check("PUT", url, now=NOW + timedelta(seconds=1800))
    with pytest.raises(SignatureError, match="expired"):
        check("PUT", url, now=NOW + timedelta(seconds=1801))
    check("PUT", url, now=NOW - timedelta(minutes=15))
    with pytest.raises(SignatureError, match="not yet valid"):
        check("PUT", url, now=NOW - timedelta(minutes=16))


def test_key_hides_its_secret() -> None:
    """The secret is in no repr."""
    assert KEY.secret not in repr(KEY)
