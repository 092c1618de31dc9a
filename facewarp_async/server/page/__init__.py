"""The page on which people watch the service work."""

from __future__ import annotations

from facewarp_async.server.page.door import Door
from facewarp_async.server.page.page import Page
from facewarp_async.server.page.seen import SeenRequests

__all__ = ["Door", "Page", "SeenRequests"]
