"""``facewarp swap`` and ``facewarp multi``: one picture or video, one face or several."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from facewarp_async.cli.arguments import check_face, check_media
from facewarp_async.cli.exits import ExitCode
from facewarp_async.cli.options import ServiceOptions
from facewarp_async.cli.output import Output
from facewarp_async.cli.provider import choose_service, open_client
from facewarp_async.cli.single import fetch_swap, prepare_out, run_single
from facewarp_async.models import FaceDetection, ImageSwap, MultiFaceSwap, Result, VideoSwap
from facewarp_async.pipeline.names import with_ending
from facewarp_async.urls import Location


@frozen(kw_only=True)
class SwapCommand:
    """The command, as it was asked for.

    Attributes:
        media: What to change.
        faces: The face to put in, or the faces by the indices of those they replace.
        out: A file, which is replaced; or a folder, which is what exists as one or has no extension. ``None``: the
            current folder.
        hd: Whether to ask for high quality.
        service: Whom to ask.
    """

    media: Location
    faces: Location | Mapping[int, Location]
    out: Location | None
    hd: bool
    service: ServiceOptions

    async def __call__(self, output: Output) -> ExitCode:
        """Run it."""
        file = await check_media(self.media)
        faces = list(self.faces.values()) if isinstance(self.faces, Mapping) else [self.faces]
        for face in faces:
            await check_face(face)
        service = choose_service(self.service, os.environ)
        out, stem = self.out or Path(), with_ending(self.media.stem, "-swapped")
        await prepare_out(out, [self.media, *faces])
        job = self._job(stem, is_video=file.media_type.is_video)
        async with open_client(service, output) as client:

            async def fetch(result: Result) -> None:
                assert not isinstance(result, FaceDetection)
                await fetch_swap(result, out, stem, client, output)

            return await run_single(job, fetch, client, output)

    def _job(self, name: str, *, is_video: bool) -> ImageSwap | VideoSwap | MultiFaceSwap:
        if isinstance(self.faces, Mapping):
            return MultiFaceSwap(self.media, self.faces, self.hd, name=name)
        swap = VideoSwap if is_video else ImageSwap
        return swap(self.media, self.faces, self.hd, name=name)
