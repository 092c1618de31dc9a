"""Checked, not run: the root's names keep their types, though they are imported late, and it takes no other name."""

from __future__ import annotations

from typing import assert_type

import facewarp_async
import facewarp_async.client
from facewarp_async import VIDNOZ, ImageSwap, Job, Provider, jobs_from_folder

assert_type(facewarp_async.FaceSwapClient, type[facewarp_async.client.FaceSwapClient])
assert_type(VIDNOZ, Provider)
assert_type(jobs_from_folder("in", face="me.jpg"), facewarp_async.FolderJobs)

job: Job = ImageSwap("a.jpg", "b.jpg")
facewarp_async.FaceSwapClinet  # type: ignore[attr-defined]  # noqa: B018 - that this is refused is the point
