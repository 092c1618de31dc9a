"""Fixtures for pytest.

Imported in every run of the tests of every project that has the package, it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from facewarp_async.testing import FakeService, MediaFolder

_MARKER = "facewarp_service(**options): arguments of the test's FakeService, such as credits=3"
_OTHER_VARIABLES = ("FACEWARP_CLIENT_ID", "FACEWARP_CLIENT_SECRET")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", _MARKER)


@pytest.fixture
def facewarp_service(request: pytest.FixtureRequest) -> Iterator[FakeService]:
    """A face swap service of this test's own, in another thread; nothing leaves this machine.

    Its tasks take no time and give their media back unchanged. ``@pytest.mark.facewarp_service(credits=3)`` gives it
    options: those of `facewarp_async.testing.FakeService`.
    """
    # Not above: see the module's docstring.
    from facewarp_async.testing import FakeService  # noqa: PLC0415

    marker = request.node.get_closest_marker("facewarp_service")
    with FakeService(**({} if marker is None else marker.kwargs)) as service:
        yield service


@pytest.fixture
def facewarp_environ(facewarp_service: FakeService, monkeypatch: pytest.MonkeyPatch) -> FakeService:
    """The same service, to which the environment leads now: `FaceSwapClient.from_env` and the command find it."""
    for name in _OTHER_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in facewarp_service.environ.items():
        monkeypatch.setenv(name, value)
    return facewarp_service


@pytest.fixture
def facewarp_media(tmp_path: Path) -> MediaFolder:
    """Makes small valid pictures and clips in the test's folder: ``facewarp_media.make("team.jpg")``."""
    from facewarp_async.testing import MediaFolder  # noqa: PLC0415

    return MediaFolder(tmp_path)
