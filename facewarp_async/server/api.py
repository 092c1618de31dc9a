"""The calls of the protocol, one method each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from attrs import frozen

from facewarp_async.models import MediaType, TaskKind
from facewarp_async.server import parameters
from facewarp_async.server.answers import MESSAGES, Refusal
from facewarp_async.server.credits import Credits
from facewarp_async.server.details import FailureStyle, show
from facewarp_async.server.faults import Fault, Hit
from facewarp_async.server.keys import upload_key
from facewarp_async.server.ledger import Creation, Ledger
from facewarp_async.server.records import Progress, StoredObject, StoredTask
from facewarp_async.server.state import State
from facewarp_async.server.storage import Storage
from facewarp_async.server.tasks import TaskQueue

ACCESS_EXPIRY_S = 259_200
"""How long a download's URL is valid: three days, as the vendors' are."""

_LONGEST_NAME = 255
_PICTURE, _VIDEO, _EITHER = "an image", "a video", "an image or a video"
_MEDIA = {
    TaskKind.IMAGE_SWAP: _PICTURE,
    TaskKind.VIDEO_SWAP: _VIDEO,
    TaskKind.FACE_DETECTION: _EITHER,
    TaskKind.MULTI_IMAGE_SWAP: _PICTURE,
    TaskKind.MULTI_VIDEO_SWAP: _VIDEO,
}


@frozen(kw_only=True)
class Api:
    """Answers the calls of an authorised caller. Each method returns ``data`` or raises a `Refusal`."""

    state: State
    storage: Storage
    tasks: TaskQueue
    credits: Credits
    ledger: Ledger
    clock: Callable[[], datetime]
    account: str
    upload_expiry_s: int
    max_file_bytes: int
    failure_style: FailureStyle
    later_statuses: bool

    async def upload_url(self, body: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Give leave to upload a file."""
        name = parameters.text(body, "file_name")
        now = self.clock()
        key = upload_key(name, account=self.account, now=now)
        await self.state.put_object(StoredObject(key=key, created=now.timestamp(), name=name[:_LONGEST_NAME]))
        url = self.storage.presign("PUT", key, origin=origin, expires_s=self.upload_expiry_s)
        return {"upload_url": url, "key": key}

    async def access_url(self, body: Mapping[str, Any], origin: str) -> dict[str, Any]:
        """Give a fresh URL for an object."""
        key = parameters.text(body, "key")
        if key not in self.state.objects:
            raise _unknown(key)
        return {"url": self._signed_get(key, origin)}

    def _signed_get(self, key: str, origin: str) -> str:
        return self.storage.presign("GET", key, origin=origin, expires_s=ACCESS_EXPIRY_S)

    async def create(self, kind: TaskKind, body: Mapping[str, Any], hit: Hit | None) -> dict[str, Any]:
        """Create a task, which costs a credit. The answer is given once the task survives a crash."""
        if kind in {TaskKind.MULTI_IMAGE_SWAP, TaskKind.MULTI_VIDEO_SWAP}:
            draft = self._multi_swap(kind, body)
        elif kind is TaskKind.FACE_DETECTION:
            draft = self._draft(kind, (self._usable(body, "main_key", _EITHER),))
        else:
            keys = (self._usable(body, "main_key", _MEDIA[kind]), self._usable(body, "target_key", _PICTURE))
            draft = self._draft(kind, keys, hd=parameters.is_hd(body, required=False))
        self.credits.take()
        try:
            task = await self._keep(draft, hit)
        except BaseException:
            self.credits.give_back()
            raise
        used = task.keys + tuple(key for pair in task.pairs for key in pair)
        self.ledger.creations.append(Creation(task_id=task.id, kind=kind, keys=used))
        if task.is_open:
            self.tasks.add(task.id)
        return {"task_id": task.id}

    def _draft(self, kind: TaskKind, keys: tuple[str, ...], *, hd: bool = False, **multi: Any) -> StoredTask:
        return StoredTask(id=0, kind=kind, created=self.clock().timestamp(), keys=keys, hd=hd, **multi)

    async def _keep(self, draft: StoredTask, hit: Hit | None) -> StoredTask:
        ending: dict[str, Any] = {}
        if hit is not None and hit.fault is Fault.TASK_FAILS:
            message = hit.rule.message or MESSAGES.get(hit.rule.code, "")
            ending = {"progress": Progress.FAILED, "code": hit.rule.code, "message": message, "ended": draft.created}
        return await self.state.add_task(draft, credits=self.credits.left, **ending)

    def _usable(self, body: Mapping[str, Any], name: str, wanted: str) -> str:
        """Return a parameter that names an upload which can be worked on."""
        key = parameters.text(body, name)
        self._check_object(key, name, wanted)
        return key

    def _check_object(self, key: str, name: str, wanted: str) -> None:
        stored = self.state.objects.get(key)
        if stored is None:
            raise _unknown(key)
        if stored.blob is None or not stored.blob.size:
            raise Refusal(701, f"{MESSAGES[701]}: nothing was uploaded for {name} {key}")
        if stored.blob.size > self.max_file_bytes:
            raise Refusal(704, f"{MESSAGES[704]}: {name} has {stored.blob.size} bytes")
        media_type = stored.blob.media_type
        if media_type is None:
            raise Refusal(703, f"{MESSAGES[703]}: {name} is none of them")
        # An animated GIF is a clip to whoever asks for one, and a picture to all others.
        is_video = media_type.is_video or (media_type is MediaType.GIF and wanted is _VIDEO)
        if wanted is not _EITHER and is_video is not (wanted is _VIDEO):
            raise Refusal(703, f"{name} is {media_type.name}, expected {wanted}")

    def _multi_swap(self, kind: TaskKind, body: Mapping[str, Any]) -> StoredTask:
        given = parameters.pairs(body)
        detection_id = parameters.integer(body, "get_face_id")
        hd = parameters.is_hd(body, required=True)
        detection = self.state.tasks.get(detection_id)
        if detection is None or detection.kind is not TaskKind.FACE_DETECTION:
            raise Refusal(400, f"the parameter get_face_id names no face detection: {detection_id}")
        if detection.progress is not Progress.FINISHED:
            raise Refusal(400, f"the face detection {detection_id} of the parameter get_face_id has no result")
        self._check_object(detection.keys[0], "the media of get_face_id", _MEDIA[kind])
        pairs = self._ordered(given, crops=detection.landmarks.keys())
        for index, (_, face_key) in enumerate(pairs):
            self._check_object(face_key, f"avatar_key[{index}]", _PICTURE)
        return self._draft(kind, detection.keys, hd=hd, pairs=pairs, detection_id=detection_id)

    def _ordered(self, given: list[tuple[str, str]], *, crops: Any) -> tuple[tuple[str, str], ...]:
        """Put the crop's key first in each pair.

        The vendors' pages contradict each other about which name means the face in the media. A crop's key tells; where
        both are crops, the other pairs do, and at last the tables.
        """
        for pair in given:
            for key in pair:
                if key not in self.state.objects:
                    raise _unknown(key)
        turned = any(first not in crops and second in crops for first, second in given)
        pairs = []
        for index, (first, second) in enumerate(given):
            if first not in crops and second not in crops:
                raise Refusal(400, f"avatar_key[{index}] names no face that the detection of get_face_id found")
            is_turned = second in crops and (turned or first not in crops)
            pairs.append((second, first) if is_turned else (first, second))
        if len({crop for crop, _ in pairs}) != len(pairs):
            raise Refusal(400, "avatar_key names a face of the media twice")
        return tuple(pairs)

    def detail(self, query: Mapping[str, str], origin: str, hit: Hit | None) -> tuple[int, str, dict[str, Any]]:
        """Show a task: the envelope's code and message, and its data."""
        task_id = parameters.integer(query, "id")
        task = self.state.tasks.get(task_id)
        if task is None:
            raise Refusal(400, f"the parameter id names no task: {task_id}")
        if hit is not None and hit.fault is Fault.EMPTY_RESULT and not task.is_open:
            return 200, "", {"id": task_id, "message": "", "status": 0, "additional_data": {}}
        return show(
            task,
            sign=lambda key: self._signed_get(key, origin),
            style=self.failure_style,
            later_statuses=self.later_statuses,
        )


def _unknown(key: str) -> Refusal:
    return Refusal(702, f"{MESSAGES[702]}: {key}")
