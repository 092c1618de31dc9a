"""Results in an output folder elsewhere: their paths, what they are known by, and what is restored of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import fsspec
import pytest

from facewarp_async.errors import MissingFileError, OutputError
from facewarp_async.pipeline.results import measure, path_below, path_in, restore
from facewarp_async.urls import RemoteFile

if TYPE_CHECKING:
    from tests.remote.conftest import Bucket

pytestmark = pytest.mark.anyio

BODY = b"a result"
DIGEST = hashlib.sha256(BODY).digest()


@pytest.fixture
def put(memory: RemoteFile) -> Callable[[str, bytes], RemoteFile]:
    """Make a file in memory, in the folder ``out``."""

    def put(name: str, body: bytes) -> RemoteFile:
        fsspec.filesystem("memory").pipe_file(f"/out/{name}", body)
        return memory.joined("out").joined(name)

    return put


def files() -> dict[str, bytes]:
    store = fsspec.filesystem("memory")
    return {path: store.cat_file(path) for path in store.find("/")}


def test_a_path_below_a_folder_leads_back_to_the_file() -> None:
    folder, file = RemoteFile("s3://bucket/out"), RemoteFile("s3://bucket/out/a/b.png")
    assert path_in(folder, "a/b.png") == file
    assert path_below(folder, file) == "a/b.png"


async def test_a_result_is_known_by_its_length_and_its_sha_256_where_the_store_has_no_marks(
    put: Callable[[str, bytes], RemoteFile],
) -> None:
    assert await measure(put("a.png", BODY)) == (len(BODY), DIGEST)


async def test_a_result_is_known_by_its_stores_mark(bucket: Bucket) -> None:
    """It is not read for that."""
    size, mark = await measure(bucket.put("a.png", BODY))
    assert size == len(BODY)
    assert mark.startswith(b"url:")


async def test_a_result_that_cannot_be_looked_at_is_an_error_of_the_output(memory: RemoteFile) -> None:
    with pytest.raises(OutputError, match=r"gone\.png: .*it was written, and cannot be looked at") as caught:
        await measure(memory.joined("gone.png"))
    assert isinstance(caught.value.__cause__, MissingFileError)


async def test_a_whole_result_stays_where_it_is(put: Callable[[str, bytes], RemoteFile]) -> None:
    kept = put("old.png", BODY)
    assert await restore(kept, kept, len(BODY), DIGEST) == DIGEST
    assert files() == {"/out/old.png": BODY}


@pytest.mark.parametrize("name", ["old.png", "new.png"])
@pytest.mark.parametrize("body", [b"a Result", BODY[:-1], None], ids=["other", "cut", "missing"])
async def test_a_result_that_is_not_what_it_was_has_to_be_fetched_again(
    put: Callable[[str, bytes], RemoteFile], name: str, body: bytes | None
) -> None:
    kept = put("old.png", body or BODY)
    if body is None:
        fsspec.filesystem("memory").rm_file("/out/old.png")
    assert await restore(kept, kept.parent.joined(name), len(BODY), DIGEST) is None
    assert files() == ({} if body is None else {"/out/old.png": body})


async def test_a_result_is_copied_to_its_new_name(put: Callable[[str, bytes], RemoteFile]) -> None:
    kept = put("old.png", BODY)
    assert await restore(kept, kept.parent.joined("a/new.png"), len(BODY), DIGEST) == DIGEST
    assert files() == {"/out/old.png": BODY, "/out/a/new.png": BODY}


async def test_a_copy_is_known_by_a_mark_of_its_own(bucket: Bucket) -> None:
    kept, target = bucket.put("out/old.png", BODY), RemoteFile(f"{bucket.url}/out/new.png")
    size, mark = await measure(kept)
    copied = await restore(kept, target, size, mark)
    assert (size, copied) == await measure(target)
    assert copied != mark


async def test_a_copy_that_is_not_whole_is_fetched_again(
    put: Callable[[str, bytes], RemoteFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a store that says that it has copied."""

    def cut(_old: RemoteFile, _new: RemoteFile) -> None:
        put("new.png", BODY[:-1])

    monkeypatch.setattr("facewarp_async.pipeline.results.copy", cut)
    kept = put("old.png", BODY)
    assert await restore(kept, kept.parent.joined("new.png"), len(BODY), DIGEST) is None
