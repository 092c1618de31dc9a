"""What a caller sets, and from where."""

from __future__ import annotations

import math

import pytest

from facewarp_async.config import (
    MIOCREATE,
    VIDNOZ,
    ApiKey,
    ClientCredentials,
    Provider,
    credentials_from_env,
    provider_from_env,
)
from facewarp_async.errors import ConfigurationError


def test_credentials_come_from_the_environment() -> None:
    assert credentials_from_env({"FACEWARP_API_KEY": "k"}) == ApiKey("k")
    pair = {"FACEWARP_CLIENT_ID": "i", "FACEWARP_CLIENT_SECRET": "s"}
    assert credentials_from_env(pair) == ClientCredentials("i", "s")
    assert credentials_from_env({**pair, "FACEWARP_API_KEY": "k"}) == ApiKey("k")


def test_missing_credentials_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"FACEWARP_API_KEY.*FACEWARP_CLIENT_ID and FACEWARP_CLIENT_SECRET"):
        credentials_from_env({})
    with pytest.raises(ConfigurationError, match="FACEWARP_CLIENT_SECRET is not set"):
        credentials_from_env({"FACEWARP_CLIENT_ID": "i"})
    with pytest.raises(ConfigurationError, match="FACEWARP_CLIENT_ID is not set"):
        credentials_from_env({"FACEWARP_CLIENT_SECRET": "s"})


def test_the_provider_comes_from_the_environment() -> None:
    assert provider_from_env({}) is VIDNOZ
    assert provider_from_env({"FACEWARP_PROVIDER": "MioCreate"}) is MIOCREATE
    assert provider_from_env({"FACEWARP_BASE_URL": "http://localhost:9/"}).base_url == "http://localhost:9"
    local = provider_from_env({"FACEWARP_BASE_URL": "http://localhost:9/", "FACEWARP_PROVIDER": "Local"})
    assert (local.name, local.requests_per_second, local.typical_image_s) == ("local", None, 0.3)
    with pytest.raises(ConfigurationError, match="vidnoz, miocreate"):
        provider_from_env({"FACEWARP_PROVIDER": "nobody"})


@pytest.mark.parametrize(
    "url", ["", "devapi.vidnoz.com", "ftp://u:hush@x", "https://", "https://u:hush@x", "https://x?y"]
)
def test_a_base_url_that_is_none_is_refused_and_its_password_not_shown(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Provider("x", url)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("rate", [0, -1, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ConfigurationError):
        Provider("x", "https://x", requests_per_second=rate)


def test_no_repr_shows_a_secret() -> None:
    assert "hush" not in repr(ApiKey("hush")) + repr(ClientCredentials("i", "hush"))


@pytest.mark.parametrize("key", ["", "k\n", "two words", "k\u00e9y"])
def test_a_key_that_cannot_go_into_a_header_is_refused_without_being_shown(key: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ApiKey(key)
    assert not key or key not in str(caught.value)


def test_a_wrong_base_url_names_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="FACEWARP_BASE_URL"):
        provider_from_env({"FACEWARP_BASE_URL": "nonsense"})
