"""Who may see the page: whoever opened the link with its token, from the page's own address. Pure."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from attrs import field, frozen

_OWN_SITES = frozenset({"", "none", "same-origin"})
"""What browsers say of a request that no other site has caused."""


@frozen
class Door:
    """Keeps out other people and other sites' pages.

    Attributes:
        token: What the link holds. It opens the page once; a cookie that is derived from it does after that.
        host: The name or address that the service is bound to.
    """

    token: str = field(repr=False)
    host: str

    @property
    def cookie_name(self) -> str:
        """The cookie's name, one for each service: browsers do not tell the ports of a host apart."""
        return f"facewarp_{self._derive('name')[:12]}"

    @property
    def cookie_value(self) -> str:
        """The cookie's value."""
        return self._derive("value")

    def _derive(self, purpose: str) -> str:
        return hmac.new(self.token.encode(), purpose.encode(), hashlib.sha256).hexdigest()

    def knows_host(self, host: str) -> bool:
        """Tell whether a ``Host`` header is an address, ``localhost`` or the name that the service is bound to.

        Another name may be one that was made to point here, so that a page of another site counts as the service's own.
        """
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in {"localhost", self.host.lower()} or _is_address(name)

    def is_of_another_site(self, headers: Mapping[str, str]) -> bool:
        """Tell whether another site's page caused a request, perhaps one on another port of this machine."""
        return headers.get("Sec-Fetch-Site", "") not in _OWN_SITES

    def accepts_token(self, token: str) -> bool:
        """Tell whether a link's token is right."""
        return hmac.compare_digest(token.encode("utf-8", "surrogateescape"), self.token.encode())

    def accepts_cookies(self, cookies: Mapping[str, str]) -> bool:
        """Tell whether the cookie is among some."""
        given = cookies.get(self.cookie_name, "")
        return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), self.cookie_value.encode())


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
