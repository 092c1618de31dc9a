"""Files that are named by a URL, such as ``s3://bucket/key``, beside those that are named by a path. Pure."""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from attrs import field, frozen

from facewarp_async.errors import ConfigurationError

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
"""Two letters at least: ``c://`` is a drive."""
_LOCAL = {"file", "local"}
_ENCODED = {"http", "https"}
"""Schemes whose URLs are percent-encoded and may have a query. With all others the name stands as it is."""
_PASSWORD = re.compile(r"(?<=:).*(?=@)")
"""It may hold further colons and at-signs."""
_TOKEN = re.compile(r"^[^:@]+(?=@)")
"""Who has no password is known by a secret name, at a web server; elsewhere it is a container's name."""
_VISIBLE_ASCII = "".join(map(chr, range(0x21, 0x7F)))
_SIGNATURES = {"x-amz-signature", "x-goog-signature", "signature", "sig"}
_SIGNING = re.compile(
    r"x-(amz|goog)-.*|signature|sig|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid"
    r"|s[evtprs]|srt|sip|spr|ske|skt|sks|skv|skoid|sktid|sdd",
    re.IGNORECASE,
)
"""What else stands in a signed URL and differs each time it is signed: of S3, Google, CloudFront and Azure."""


def _hide(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    if scheme.lower() in _ENCODED:
        path, mark = _before_query(path)
        path += f"{mark}***" if mark else ""
        authority = _TOKEN.sub("***", authority)
    return scheme + separator + _PASSWORD.sub("***", authority) + slash + path


def _before_query(path: str) -> tuple[str, str]:
    """Return a path without query and fragment, and the mark they began with."""
    match = re.search(r"[?#]", path)
    return (path, "") if match is None else (path[: match.start()], match[0])


@frozen
class RemoteFile:
    """A file, or a folder, that is named by a URL.

    As text and in a repr it shows no password and nothing of a query, which may sign it; `url` has all.

    Attributes:
        url: As it was given. In ``http`` URLs what is special is percent-encoded; in others, such as ``s3://`` and
            ``gs://``, the key stands as it is.
    """

    url: str = field(repr=lambda url: repr(_hide(url)))

    def __attrs_post_init__(self) -> None:
        if _SCHEME.match(self.url) is None:
            raise ConfigurationError(f"{self.url!r} is no URL: expected something like s3://bucket/key")

    def __str__(self) -> str:
        return _hide(self.url)

    @property
    def scheme(self) -> str:
        """What stands before ``://``, in small letters."""
        return self.url.partition("://")[0].lower()

    @property
    def is_encoded(self) -> bool:
        """Whether what is special in it is percent-encoded."""
        return self.scheme in _ENCODED

    @property
    def name(self) -> str:
        """The last part of its path, decoded."""
        last = self._parts[1].rstrip("/").rpartition("/")[2]
        return unquote(last) if self.is_encoded else last

    @property
    def stem(self) -> str:
        """The name without its extension."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The name's extension, with its dot."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemoteFile:
        """The folder that it lies in."""
        root, path, _query = self._parts
        return RemoteFile(root + path.rstrip("/").rpartition("/")[0])

    def joined(self, below: str) -> RemoteFile:
        """Return the file that a path with ``/`` leads to from here."""
        root, path, query = self._parts
        step = quote(below) if self.is_encoded else below
        return RemoteFile(f"{root}{path.rstrip('/')}/{step}{query}")

    def led_to(self, relative: str) -> RemoteFile:
        """Return the file that a relative path leads to from here, which may go up."""
        file = self
        for step in PurePosixPath(relative).parts:
            file = file.parent if step == ".." else file.joined(step)
        return file

    def below(self, folder: RemoteFile) -> str | None:
        """Return the path that leads here from a folder, decoded; ``None`` where it does not lie there."""
        (root, path, _), (other_root, other_path, _) = self._parts, folder._parts
        start = other_path.rstrip("/") + "/"
        if root != other_root or not path.startswith(start):
            return None
        return unquote(path[len(start) :]) if self.is_encoded else path[len(start) :]

    @property
    def lasting_url(self) -> str:
        """The URL without what signs it, which is another each time."""
        if not self.is_encoded:
            return self.url
        parts = urlsplit(self.url)
        query = parse_qsl(parts.query, keep_blank_values=True)
        if any(name.lower() in _SIGNATURES for name, _ in query):
            query = [(name, value) for name, value in query if not _SIGNING.fullmatch(name)]
        return parts._replace(query=urlencode(query), fragment="").geturl()

    @property
    def encoded_url(self) -> str:
        """The URL as it goes on the wire: what cannot stand in one is percent-encoded, all else left as it is."""
        return quote(self.url, safe=_VISIBLE_ASCII)

    @property
    def _parts(self) -> tuple[str, str, str]:
        """Scheme with authority, path with its leading ``/``, query with its ``?``."""
        scheme, _, rest = self.url.partition("://")
        authority, slash, path = rest.partition("/")
        query = ""
        if self.is_encoded:
            whole, (path, mark) = path, _before_query(path)
            query = whole[len(path) :] if mark else ""
        return f"{scheme}://{authority}", slash + path, query


Location = Path | RemoteFile
"""Where a file is."""


def is_url(text: str) -> bool:
    """Tell a URL from a path: it begins with a scheme and ``://``."""
    return _SCHEME.match(text) is not None


def as_location(value: str | os.PathLike[str] | RemoteFile) -> Location:
    """Return what a caller's path or URL means. A ``file://`` URL is a path.

    Raises:
        ConfigurationError: It is a ``file://`` URL of another machine.
    """
    if isinstance(value, RemoteFile):
        return value
    if not isinstance(value, str) or (match := _SCHEME.match(value)) is None:
        return Path(value)
    if match[1].lower() not in _LOCAL:
        return RemoteFile(value)
    host, slash, path = value[match.end() :].partition("/")
    if host not in {"", "localhost"} or not slash:
        raise ConfigurationError(f"{value}: expected file:///path, with three slashes and the whole path")
    from urllib.request import url2pathname  # noqa: PLC0415 - it brings HTTP and TLS along

    return Path(url2pathname("/" + path))
