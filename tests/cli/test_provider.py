"""Which service the options and the environment mean."""

from __future__ import annotations

from typing import Any

import pytest

from facewarp_async.cli.batch import choose_in_doubt
from facewarp_async.cli.options import ResumeOptions, ServiceOptions
from facewarp_async.cli.provider import Embedded, Remote, choose_service
from facewarp_async.config import MIOCREATE, VIDNOZ, ApiKey, ClientCredentials
from facewarp_async.errors import ConfigurationError

KEY = {"FACEWARP_API_KEY": "secret"}
ELSEWHERE = {"FACEWARP_BASE_URL": "http://127.0.0.1:9"}


def choose(environ: dict[str, str], **options: Any) -> Remote | Embedded:
    return choose_service(ServiceOptions(**options), environ)


def remote(environ: dict[str, str], **options: Any) -> Remote:
    service = choose(environ, **options)
    assert isinstance(service, Remote)
    return service


def test_without_anything_it_is_the_embedded_one() -> None:
    assert choose({}) == Embedded()


def test_with_credentials_alone_it_is_vidnoz() -> None:
    assert choose(KEY) == Remote(VIDNOZ, ApiKey("secret"))


def test_a_client_id_needs_its_secret() -> None:
    pair = {"FACEWARP_CLIENT_ID": "me", "FACEWARP_CLIENT_SECRET": "secret"}
    assert remote(pair).credentials == ClientCredentials("me", "secret")
    with pytest.raises(ConfigurationError, match="FACEWARP_CLIENT_SECRET is not set"):
        choose({"FACEWARP_CLIENT_ID": "me"})


@pytest.mark.parametrize("environ", [{}, {"FACEWARP_PROVIDER": "vidnoz"}])
def test_a_named_vendor_needs_credentials(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match=r"vidnoz at .*set FACEWARP_API_KEY, or FACEWARP_CLIENT_ID"):
        choose(environ, **({} if environ else {"provider": "vidnoz"}))


def test_a_base_url_needs_credentials() -> None:
    with pytest.raises(ConfigurationError, match="FACEWARP_API_KEY"):
        choose({}, base_url="http://127.0.0.1:9")


def test_the_environment_names_the_provider_and_an_option_outweighs_it() -> None:
    environ = KEY | {"FACEWARP_PROVIDER": "MioCreate"}
    assert remote(environ).provider == MIOCREATE
    assert remote(environ, provider="vidnoz").provider == VIDNOZ
    assert choose(environ, provider="local") == Embedded(is_chosen=True)


def test_a_named_vendor_is_not_sought_at_the_address_of_the_environment() -> None:
    assert remote(KEY | ELSEWHERE, provider="vidnoz").provider.base_url == VIDNOZ.base_url
    assert remote(KEY | ELSEWHERE).provider.base_url == "http://127.0.0.1:9"
    assert remote(KEY, provider="miocreate", base_url="http://127.0.0.1:9").provider.name == "miocreate"


def test_local_at_an_address_runs_already_and_has_no_limit() -> None:
    provider = remote(KEY | ELSEWHERE | {"FACEWARP_PROVIDER": "local"}).provider
    assert (provider.name, provider.requests_per_second) == ("local", None)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="expected one of vidnoz, miocreate, local"):
        choose(KEY | {"FACEWARP_PROVIDER": "nobody"})


@pytest.mark.parametrize(("rps", "expected"), [(None, 1.0), (0.0, None), (5.0, 5.0)])
def test_the_pace(rps: float | None, expected: float | None) -> None:
    assert remote(KEY, rps=rps).provider.requests_per_second == expected
    embedded = choose({}, rps=rps)
    assert isinstance(embedded, Embedded)
    assert embedded.requests_per_second == (None if rps is None else expected)


def test_what_may_cost_credits_is_created_again_only_where_that_is_asked_for() -> None:
    paid, free = Remote(VIDNOZ, ApiKey("key")), Embedded()
    assert (choose_in_doubt(ResumeOptions(), paid), choose_in_doubt(ResumeOptions(), free)) == ("hold", "recreate")
    assert choose_in_doubt(ResumeOptions(in_doubt="recreate"), paid) == "recreate"
    assert choose_in_doubt(ResumeOptions(in_doubt="hold"), free) == "hold"
