"""A file's address leads to that file, whatever it is called."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote_to_bytes, urljoin, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from facewarp_async.report.links import link

names = st.binary(min_size=1, max_size=20).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in {b".", b".."}
)
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: Path("/" + os.fsdecode(b"/".join(parts))))


@given(paths, paths)
def test_a_page_finds_the_file_by_its_address(target: Path, folder: Path) -> None:
    assume(not folder.is_relative_to(target))  # a file holds no folder
    address = link(target, folder)
    assert address.isascii()
    assert address.startswith("./")
    parts = urlsplit(address)
    assert (parts.scheme, parts.netloc, parts.query, parts.fragment) == ("", "", "", "")
    resolved = urljoin(folder.as_uri() + "/page.html", address)
    assert unquote_to_bytes(urlsplit(resolved).path) == os.fsencode(target)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("javascript:alert(1).png", "./javascript%3Aalert%281%29.png"),
        ("a b#c?d%41.png", "./a%20b%23c%3Fd%2541.png"),
        ("\"'><.png", "./%22%27%3E%3C.png"),
        ("\udcff.png", "./%FF.png"),
        ("sub/😀.png", "./sub/%F0%9F%98%80.png"),
    ],
)
def test_what_means_something_in_an_address_is_escaped(name: str, address: str) -> None:
    assert link(Path("/out") / name, Path("/out")) == address
