"""``facewarp faces``: which faces there are, so that ``facewarp multi`` can name them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from attrs import frozen

from facewarp_async.cli.arguments import check_media, check_writable
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.options import ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.provider import choose_service, open_client
from facewarp_async.cli.single import free_path, run_single
from facewarp_async.client import FaceSwapClient
from facewarp_async.models import DetectFaces, Face, FaceDetection, MediaType, Result
from facewarp_async.pipeline.names import with_ending
from facewarp_async.urls import Location

_EXTENSIONS = {media_type.extension for media_type in MediaType}


@frozen(kw_only=True)
class FacesCommand:
    """The command, as it was asked for.

    Attributes:
        media: Where to look.
        out: The folder for the crops.
        as_json: Whether stdout gets an object for each face, instead of a line.
        service: Whom to ask.
    """

    media: Location
    out: Location
    as_json: bool
    service: ServiceOptions

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        await check_media(self.media)
        service = choose_service(self.service, os.environ)
        await check_writable(self.out)
        async with open_client(service, output) as client:

            async def fetch(result: Result) -> None:
                assert isinstance(result, FaceDetection)
                await fetch_faces(result.faces, self.out, self.media.stem, client, output, as_json=self.as_json)

            return await run_single(DetectFaces(self.media), fetch, client, output)


async def fetch_faces(
    faces: Sequence[Face], folder: Location, stem: str, client: FaceSwapClient, output: Output, *, as_json: bool
) -> None:
    """Write the crops of faces into a folder, under names that no file has yet, and tell of each."""
    if not faces:
        output.say("no faces were found")
    for index, face in enumerate(faces):
        extension = PurePosixPath(face.key).suffix.lower()
        extension = extension if extension in _EXTENSIONS else MediaType.PNG.extension
        target = await free_path(folder, with_ending(stem, f"-face-{index}"), extension)
        await client.download(face, target)
        if as_json:
            await output.json(face_record(index, face, target))
        else:
            points = " ".join(f"{point.x:g},{point.y:g}" for point in face.kps)
            await output.row(str(index), target, points)


def face_record(index: int, face: Face, path: Location) -> dict[str, Any]:
    """Return a face as an object: its index, its crop's file and size, and its five points in pixels of the crop."""
    return {
        "index": index,
        "path": str(path),
        "width": face.width,
        "height": face.height,
        "kps": [[point.x, point.y] for point in face.kps],
    }
