"""Results in an output folder here: their paths, what they are known by, and what is restored of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from facewarp_async.errors import OutputError
from facewarp_async.pipeline.results import measure, path_below, path_in, restore

pytestmark = pytest.mark.anyio

BODY = b"a result"
DIGEST = hashlib.sha256(BODY).digest()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A result as an earlier run has left it."""
    path = tmp_path / "old.png"
    path.write_bytes(BODY)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_path_below_a_folder_leads_back_to_the_file(tmp_path: Path) -> None:
    assert path_in(tmp_path, "a/b.png") == tmp_path / "a" / "b.png"
    assert path_below(tmp_path, tmp_path / "a" / "b.png") == "a/b.png"


async def test_a_result_is_known_by_its_length_and_its_sha_256(kept: Path) -> None:
    assert await measure(kept) == (len(BODY), DIGEST)


async def test_a_result_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"gone\.png: was written and cannot be read: No such file"):
        await measure(tmp_path / "gone.png")


async def test_a_whole_result_stays_where_it_is(kept: Path) -> None:
    assert await restore(kept, kept, len(BODY), DIGEST) == DIGEST
    assert files(kept.parent) == {"old.png": BODY}


@pytest.fixture(params=[b"a Result", BODY[:-1], BODY + b"!", None], ids=["other", "cut", "grown", "missing"])
def spoilt(kept: Path, request: pytest.FixtureRequest) -> Path:
    """One that is not as it was left."""
    if request.param is None:
        kept.unlink()
    else:
        kept.write_bytes(request.param)
    return kept


@pytest.mark.parametrize("name", ["old.png", "new.png"])
async def test_a_result_that_is_not_what_it_was_has_to_be_fetched_again(spoilt: Path, name: str) -> None:
    """Under its own name and under another, where no copy of it is left."""
    before = files(spoilt.parent)
    assert await restore(spoilt, spoilt.with_name(name), len(BODY), DIGEST) is None
    assert files(spoilt.parent) == before


async def test_a_result_is_copied_to_its_new_name_in_any_folder(kept: Path) -> None:
    """Whether or not there is a folder of that name, and a file in it, already."""
    for name in ("a/b/new.png", "a/b/newer.png", "a/b/new.png"):
        assert await restore(kept, kept.parent / name, len(BODY), DIGEST) == DIGEST
    assert files(kept.parent) == {"old.png": BODY, "a/b/new.png": BODY, "a/b/newer.png": BODY}


async def test_a_result_is_fetched_again_where_it_cannot_be_copied(kept: Path) -> None:
    """Such as below what is a file."""
    assert await restore(kept, kept / "new.png", len(BODY), DIGEST) is None
