"""Files that are named by URLs."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from facewarp_async.errors import ConfigurationError
from facewarp_async.models import Asset, ImageSwap, MultiFaceSwap
from facewarp_async.urls import RemoteFile, as_location


@pytest.mark.parametrize("text", ["s3://bucket/a b/c#d?.png", "gs://b/x", "http://h/x?y=1", "S3://b/k", "a+b-c.d://e"])
def test_a_text_with_a_scheme_and_two_slashes_is_a_url(text: str) -> None:
    assert as_location(text) == RemoteFile(text)


@pytest.mark.parametrize(
    "text",
    ["a.png", "C:\\me.png", "c:/me.png", "c://me.png", "a:b.png", "s3:/bucket/x", "://x", "dir/s3://x", "1s://x"],
)
def test_anything_else_is_a_path(text: str) -> None:
    assert as_location(text) == Path(text)


@pytest.mark.parametrize("text", ["file:///tmp/a%20b.png", "file://localhost/tmp/a%20b.png", "FILE:///tmp/a%20b.png"])
def test_a_file_url_is_a_path(text: str) -> None:
    assert as_location(text) == Path("/tmp/a b.png")


@pytest.mark.parametrize("text", ["file://host/x.png", "file://x.png"])
def test_a_file_url_of_another_machine_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="three slashes"):
        as_location(text)


def test_a_path_is_no_remote_file() -> None:
    with pytest.raises(ConfigurationError, match="is no URL"):
        RemoteFile("a.png")


def test_jobs_take_urls_wherever_they_take_paths() -> None:
    job = ImageSwap("s3://b/in/team.jpg", "me.jpg")
    assert (job.media, job.face) == (RemoteFile("s3://b/in/team.jpg"), Path("me.jpg"))
    faces = MultiFaceSwap("a.jpg", {0: "gs://b/x.png", 1: Asset("k")}).faces
    assert faces == {0: RemoteFile("gs://b/x.png"), 1: Asset("k")}


@pytest.mark.parametrize(
    ("url", "name", "parent"),
    [
        ("s3://b/in/a%20b#c?d.png", "a%20b#c?d.png", "s3://b/in"),
        ("s3://b/a.png", "a.png", "s3://b"),
        ("https://h/in/a%20b.png?sig=x", "a b.png", "https://h/in"),
        ("https://h:1/a.png#top", "a.png", "https://h:1"),
        ("s3://b", "", "s3://b"),
    ],
)
def test_only_http_urls_are_encoded_and_have_queries(url: str, name: str, parent: str) -> None:
    assert RemoteFile(url).name == name
    assert RemoteFile(url).parent == RemoteFile(parent)


@pytest.mark.parametrize(
    ("folder", "below", "url"),
    [
        ("s3://b/out", "a b/c%#?.png", "s3://b/out/a b/c%#?.png"),
        ("s3://b/out/", "c.png", "s3://b/out/c.png"),
        ("s3://b", "c.png", "s3://b/c.png"),
        ("memory://", "c.png", "memory:///c.png"),
        ("https://h/out?sig=1", "a b/c%#?.png", "https://h/out/a%20b/c%25%23%3F.png?sig=1"),
        ("https://h", "c.png", "https://h/c.png"),
    ],
)
def test_what_is_joined_is_found_below(folder: str, below: str, url: str) -> None:
    joined = RemoteFile(folder).joined(below)
    assert joined.url == url
    assert joined.below(RemoteFile(folder)) == below


@pytest.mark.parametrize("other", ["s3://b/ou", "s3://c/out", "s3://b/out/a.png", "gs://b/out"])
def test_what_lies_elsewhere_is_not_below(other: str) -> None:
    assert RemoteFile("s3://b/out/a.png").below(RemoteFile(other)) is None


def test_a_relative_path_may_lead_up() -> None:
    folder = RemoteFile("s3://b/lists/may")
    assert folder.led_to("../../in/./a b.png") == RemoteFile("s3://b/in/a b.png")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/a.png?X-Amz-Signature=secret&x=1", "https://h/a.png?***"),
        ("https://me:secret@h/a.png#secret", "https://me:***@h/a.png#***"),
        ("sftp://me:secret@h/a:b@c.png", "sftp://me:***@h/a:b@c.png"),
        ("ftp://me:se:cr@et@h:21/a.png", "ftp://me:***@h:21/a.png"),
        ("https://secret@h:80/a.png", "https://***@h:80/a.png"),
        ("abfs://box@account.net/a.png", "abfs://box@account.net/a.png"),
        ("s3://b/a?b#c.png", "s3://b/a?b#c.png"),
    ],
)
def test_no_secret_is_shown(url: str, shown: str) -> None:
    file = RemoteFile(url)
    assert str(file) == shown
    assert repr(file) == f"RemoteFile(url={shown!r})"
    assert "secret" not in repr(ImageSwap(url, url))
    assert pickle.loads(pickle.dumps(file)).url == url


def test_a_url_that_was_signed_again_is_known_again() -> None:
    old = RemoteFile("https://h/a.png?versionId=3&X-Amz-Date=1&X-Amz-Signature=a#x")
    new = RemoteFile("https://h/a.png?versionId=3&X-Amz-Date=2&X-Amz-Signature=b")
    other = RemoteFile("https://h/a.png?versionId=4&X-Amz-Date=2&X-Amz-Signature=b")
    assert old.lasting_url == new.lasting_url == "https://h/a.png?versionId=3"
    assert other.lasting_url != new.lasting_url


def test_a_query_that_signs_nothing_is_a_part_of_the_name() -> None:
    assert RemoteFile("https://h/get?id=5&st=1").lasting_url == "https://h/get?id=5&st=1"
