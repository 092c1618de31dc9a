"""Jobs from a manifest."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from facewarp_async.errors import InputError, MissingFileError
from facewarp_async.models import Asset, ImageSwap, Job, MultiFaceSwap, VideoSwap
from facewarp_async.sources import jobs_from_manifest

MakeFile = Callable[..., Path]
HEADER = "media,face,faces,kind,hd,name"


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "jobs.csv"
        path.write_bytes(os.fsencode(text))
        return path

    return write


Manifest = Callable[[str], Path]
CSV = """\
media,face,faces,kind,hd,name
a.png,me.png,,,,
sub/clip.mp4,me.png,,,yes,other name

group.png,,0=me.png; 2 = you.png,,FALSE,
any.mov,me.png,,video,,
/abs.png,/me.png,,image,1,
"""
JSON = [
    {"media": "a.png", "face": "me.png"},
    {"media": "sub/clip.mp4", "face": "me.png", "hd": True, "name": "other name"},
    {"media": "group.png", "faces": {"0": "me.png", "2": "you.png"}, "hd": False, "kind": None},
    {"media": "any.mov", "face": "me.png", "kind": "video"},
    {"media": "/abs.png", "face": "/me.png", "kind": "image", "hd": "1"},
]


def expected(folder: Path) -> list[Job]:
    me, you = folder / "me.png", folder / "you.png"
    return [
        ImageSwap(folder / "a.png", me, name="a"),
        VideoSwap(folder / "sub/clip.mp4", me, hd=True, name="other name"),
        MultiFaceSwap(folder / "group.png", {0: me, 2: you}, name="group"),
        VideoSwap(folder / "any.mov", me, name="any"),
        ImageSwap("/abs.png", "/me.png", hd=True, name="abs"),
    ]


@pytest.mark.parametrize("form", ["csv", "semicolons", "tabs", "bom", "crlf", "json"])
def test_rows_become_jobs_whatever_they_are_written_in(
    form: str, manifest: Manifest, make_file: MakeFile, tmp_path: Path
) -> None:
    make_file("a.png"), make_file("sub/clip.mp4")
    text = {
        "csv": CSV,
        "semicolons": CSV.replace("0=me.png; 2 = you.png", '"0=me.png; 2 = you.png"').replace(",", ";"),
        "tabs": CSV.replace(",", "\t"),
        "bom": "\ufeff" + CSV,
        "crlf": CSV.replace("\n", "\r\n"),
        "json": "\n\n".join(json.dumps(row) for row in JSON),
    }[form]
    assert list(jobs_from_manifest(manifest(text))) == expected(tmp_path)


@pytest.mark.anyio
async def test_a_manifest_is_read_beside_the_loop_and_again(manifest: Manifest, tmp_path: Path) -> None:
    source = jobs_from_manifest(manifest("media\na.png\nb.png"), face=Asset("me"), hd=True)
    wanted = [ImageSwap(tmp_path / f"{name}.png", Asset("me"), hd=True, name=name) for name in "ab"]
    for _ in range(2):
        assert [job async for job in source] == wanted


def test_rows_are_read_while_they_are_asked_for(manifest: Manifest) -> None:
    jobs = iter(jobs_from_manifest(manifest("media,hd\na.png,\nb.png,perhaps\n"), face="me.png"))
    assert next(jobs).name == "a"
    with pytest.raises(InputError, match="line 3, column hd"):
        next(jobs)


def test_names_that_are_no_text_are_kept(manifest: Manifest, tmp_path: Path) -> None:
    name = os.fsdecode(b"bytes\xff.png")
    [job] = jobs_from_manifest(manifest(f'media\n"{name}"\n'), face="me.png")
    assert job.media == tmp_path / name


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", None),
        ("file,face\na.png,me.png\n", "line 1, column 'file': is not known: expected some of media, face, faces"),
        (f"{'not a manifest ' * 20}\n", "line 1, column 'not a manifest not …ifest not a manifest': is not known"),
        ("media,media\na,b\n", "line 1, column media: is there twice"),
        ("face\nme.png\n", "line 1, column media: is missing"),
        ("media\na.png\n", "line 2, column face: is missing, and there is no face for all"),
        ("media,face\n,me.png\n", "line 2, column media: is missing"),
        ("media,face\na.png,me.png\n\nb.png,me.png,x\n", "line 4, column 3: the header has 2 columns"),
        (f"{HEADER}\na.png,me.png,,movie,,\n", "column kind: is 'movie': expected image, video, multi"),
        (f"{HEADER}\na.png,me.png,,,maybe,\n", "column hd: is 'maybe': expected true or false"),
        (f"{HEADER}\na.png,me.png,0=b.png,,,\n", "column face: is given beside faces"),
        (f"{HEADER}\na.png,,0=b.png,image,,\n", "column kind: is 'image', and faces are named"),
        (f"{HEADER}\na.png,,,multi,,\n", "column faces: is missing"),
        (f"{HEADER}\na.png,,b.png,,,\n", "column faces: holds 'b.png': expected an index"),
        (f"{HEADER}\na.png,,x=b.png,,,\n", "column faces: names a face 'x': expected its index"),
        (f"{HEADER}\na.png,,{'9' * 5000}=b.png,,,\n", "column faces: names a face"),
        (f"{HEADER}\na.png,,0=,,,\n", "column faces: is missing: expected a path"),
        ('media,face\n"a.png,me.png\n', "line 2: is no CSV"),
        ('{"media": "a.png"', "line 1: is no JSON"),
        ('{"media": "a", "face": "b"}\n["media"]', "line 2: expected a JSON object"),
        ('{"media": 5, "face": "b"}', "line 1, column media: is 5: expected a path"),
        ('{"media": "a", "face": ["b"]}', "line 1, column face: is .'b'.: expected a path"),
        ('{"media": "a", "faces": ["b"]}', "line 1, column faces: is .'b'.: expected an object"),
        ('{"media": "a", "face": "b", "name": 5}', "line 1, column name: is 5: expected a text"),
        ('{"media": "a", "face": "b", "colour": 5}', "line 1, column 'colour': is not known"),
    ],
)
def test_what_cannot_be_meant_is_named_with_its_line_and_column(
    text: str, place: str | None, manifest: Manifest
) -> None:
    path = manifest(text)
    if place is None:
        assert list(jobs_from_manifest(path)) == []
        return
    with pytest.raises(InputError, match=f"^{path}, .*{place}"):
        list(jobs_from_manifest(path))


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.csv", tmp_path):
        with pytest.raises(MissingFileError, match=f"^{path}: cannot be read"):
            list(jobs_from_manifest(path))


TEXTS = st.text(alphabet=st.sampled_from('media,face;s\t\n\r"={}:[]0é\x00\\.'), max_size=60)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=60)
    | TEXTS.map(str.encode)
    | TEXTS.map(lambda text: f"media,face,faces\n{text}".encode())
)
def test_whatever_a_manifest_holds_it_is_jobs_or_an_error_of_input(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    try:
        jobs = list(jobs_from_manifest(path, face="me.png"))
    except InputError as error:
        jobs, message = [], str(error)
    else:
        message = str(path)
    assert message.startswith(str(path))
    assert all(job.media for job in jobs)
