"""Providers, credentials, limits and time-outs: what a caller sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

from attrs import Attribute, field, frozen, validators

from facewarp_async.errors import ConfigurationError
from facewarp_async.redaction import redact_url


class PairOrder(Enum):
    """Which key of a multiple swap's pair names the face in the media.

    The tables on the vendors' pages and one of their samples contradict each other (protocol, "Calls").
    """

    TABLES = "target_part_key is the face in the media"
    """``target_part_key`` is the crop from the detection, ``avatar_part_key`` the face to put in."""
    SAMPLES = "avatar_part_key is the face in the media"
    """The reverse."""


def _check_base_url(_instance: object, _attribute: Attribute[str], value: str) -> None:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(
            f"{redact_url(value)} is no base URL: expected something like https://devapi.vidnoz.com"
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise ConfigurationError("a base URL holds no credentials, query or fragment")


def _check_rate(value: float | None) -> None:
    if value is not None and not value > 0:
        raise ConfigurationError(
            f"{value} requests a second is no rate: expected a positive number, or None for no limit"
        )


def _strip_slash(value: str) -> str:
    return value.rstrip("/")


@frozen
class Provider:
    """A service that speaks the protocol.

    Attributes:
        name: For messages.
        base_url: Scheme and host, perhaps a path; the calls' paths are appended.
        requests_per_second: How many API calls a credential may make, 1 on the vendors' published
            plans; ``None``: no limit.
        pair_order: How the pairs of a multiple swap are read.
        realm: What tells this provider's task ids from another's in a journal; the base URL if empty.
        allow_plain_storage: Whether presigned URLs may be plain ``http`` where `base_url` is ``https``. They lead to
            wherever the service says, which may be a machine of the private network, and are refused otherwise.
        typical_image_s: About how long an image task takes, in seconds; polling starts from it.
        typical_video_s: The same for a video task.
    """

    name: str
    base_url: str = field(converter=_strip_slash, validator=_check_base_url)
    requests_per_second: float | None = field(default=1.0, kw_only=True)
    pair_order: PairOrder = field(default=PairOrder.TABLES, kw_only=True)
    realm: str = field(default="", kw_only=True)
    allow_plain_storage: bool = field(default=False, kw_only=True)
    typical_image_s: float = field(default=6.0, kw_only=True, validator=validators.gt(0))
    typical_video_s: float = field(default=90.0, kw_only=True, validator=validators.gt(0))

    def __attrs_post_init__(self) -> None:
        _check_rate(self.requests_per_second)

    @property
    def plain_storage(self) -> bool:
        """Whether presigned URLs may be plain ``http``."""
        return self.allow_plain_storage or self.base_url.startswith("http:")


VIDNOZ = Provider("vidnoz", "https://devapi.vidnoz.com")
"""Vidnoz, at one call a second."""

MIOCREATE = Provider("miocreate", "https://devapi.miocreate.com")
"""MioCreate, at one call a second."""

LOCAL_NAME = "local"
PROVIDERS: Mapping[str, Provider] = {provider.name: provider for provider in (VIDNOZ, MIOCREATE)}


def _check_key(_instance: object, _attribute: Attribute[str], value: str) -> None:
    # Not shown: what is wrong with a secret is told without it.
    if not value or not all("!" <= character <= "~" for character in value):
        raise ConfigurationError("the API key is empty, or holds a space, a line break or other than ASCII characters")


@frozen
class ApiKey:
    """A fixed API key, used as the bearer token.

    Raises:
        ConfigurationError: It cannot be one: it is empty, or holds other than visible ASCII characters.
    """

    key: str = field(repr=lambda _: "'***'", validator=_check_key)


@frozen
class ClientCredentials:
    """A client id and secret, exchanged for access tokens."""

    client_id: str = field(validator=validators.min_len(1))
    client_secret: str = field(repr=lambda _: "'***'", validator=validators.min_len(1))


Credentials = ApiKey | ClientCredentials
"""Who asks, as the vendor's account page gives it."""


@frozen(kw_only=True, cache_hash=True)
class Timeouts:
    """How long to wait, in seconds.

    Attributes:
        connect_s: For a connection, of an API call or a transfer.
        request_s: For the whole answer to one API call, from the moment it is sent.
        stall_s: For the next byte of an upload or download; a transfer that moves may take as long as it needs.
        image_task_s: For an image task or a detection to end, from its creation.
        video_task_s: For a video task.
        repeat_s: For all repetitions of one call together, waiting included.
    """

    connect_s: float = field(default=30.0, validator=validators.gt(0))
    request_s: float = field(default=60.0, validator=validators.gt(0))
    stall_s: float = field(default=60.0, validator=validators.gt(0))
    image_task_s: float = field(default=15 * 60.0, validator=validators.gt(0))
    video_task_s: float = field(default=3 * 3600.0, validator=validators.gt(0))
    repeat_s: float = field(default=300.0, validator=validators.gt(0))


@frozen(kw_only=True)
class Limits:
    """How much of a batch goes on at once.

    Attributes:
        uploads: Files sent at once.
        in_flight: Tasks that are being created or have not ended. While a pipeline of more than 256 is entered,
            Python's collector of garbage goes through old objects a hundred times less often (`gc.set_threshold`):
            that would hold up the event loop.
        downloads: Results fetched at once.
        read_ahead: Jobs that may be begun before the outcome of the oldest has been taken by the caller. It bounds the
            results held back for order: a slow consumer, or a first job that takes longest, stops the reading here.
    """

    uploads: int = field(default=8, validator=validators.ge(1))
    in_flight: int = field(default=128, validator=validators.ge(1))
    downloads: int = field(default=8, validator=validators.ge(1))
    read_ahead: int = field(default=1000, validator=validators.ge(1))


def local_provider(base_url: str, **options: Any) -> Provider:
    """Return the provider of a local service: it is quick, and has no limit unless told otherwise."""
    quick = {"requests_per_second": None, "typical_image_s": 0.3, "typical_video_s": 2.0}
    return Provider(LOCAL_NAME, base_url, **(quick | options))


def provider_from_env(environ: Mapping[str, str] | None = None) -> Provider:
    """Read ``FACEWARP_PROVIDER`` (``vidnoz``, the default, or ``miocreate``) and ``FACEWARP_BASE_URL``.

    With a base URL the provider may have any name; ``local`` is a local service, which has no limit.

    Raises:
        ConfigurationError: The provider's name is not known.
    """
    env = os.environ if environ is None else environ
    name = (env.get("FACEWARP_PROVIDER") or VIDNOZ.name).lower()
    base_url = env.get("FACEWARP_BASE_URL")
    if base_url:
        try:
            if name == LOCAL_NAME:
                return local_provider(base_url)
            return Provider(env.get("FACEWARP_PROVIDER") or "custom", base_url)
        except ConfigurationError as error:
            raise ConfigurationError(f"FACEWARP_BASE_URL: {error.message}") from error
    if name not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise ConfigurationError(f"FACEWARP_PROVIDER is {name!r}: expected one of {known}, or set FACEWARP_BASE_URL")
    return PROVIDERS[name]


def credentials_from_env(environ: Mapping[str, str] | None = None) -> Credentials:
    """Read ``FACEWARP_API_KEY``, or ``FACEWARP_CLIENT_ID`` with ``FACEWARP_CLIENT_SECRET``; the key wins.

    Raises:
        ConfigurationError: None is set, or only half of the pair.
    """
    env = os.environ if environ is None else environ
    if key := env.get("FACEWARP_API_KEY"):
        return ApiKey(key)
    client_id, secret = env.get("FACEWARP_CLIENT_ID"), env.get("FACEWARP_CLIENT_SECRET")
    if client_id and secret:
        return ClientCredentials(client_id, secret)
    if client_id or secret:
        missing = "FACEWARP_CLIENT_SECRET" if client_id else "FACEWARP_CLIENT_ID"
        raise ConfigurationError(f"{missing} is not set, and the other half of the pair is")
    raise ConfigurationError("no credentials: set FACEWARP_API_KEY, or FACEWARP_CLIENT_ID and FACEWARP_CLIENT_SECRET")
