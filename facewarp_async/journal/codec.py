"""Results and errors as JSON for the journal. URLs stay out: they are signed, and lapse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import cattrs

from facewarp_async.errors import FaceWarpError, Stage
from facewarp_async.models import Face, FaceDetection, ImageResult, Picture, Result, VideoResult

_RESULTS: dict[str, type[Result]] = {cls.__name__: cls for cls in (ImageResult, VideoResult, FaceDetection)}
_CONVERTER = cattrs.Converter()

for _cls in (Picture, Face, ImageResult, VideoResult):  # the parts first: the others' hooks are made of theirs
    _CONVERTER.register_unstructure_hook(
        _cls,
        cattrs.gen.make_dict_unstructure_fn(_cls, _CONVERTER, url=cattrs.gen.override(unstruct_hook=lambda _url: "")),
    )


def _tree(root: type[FaceWarpError]) -> Iterator[type[FaceWarpError]]:
    yield root
    for cls in root.__subclasses__():
        yield from _tree(cls)


_ERRORS = {cls.__name__: cls for cls in _tree(FaceWarpError)}


def encode_result(result: Result) -> str:
    """Write a result without its URLs."""
    return json.dumps([type(result).__name__, _CONVERTER.unstructure(result)])


def decode_result(text: str) -> Result:
    """Read a result; its URLs are empty."""
    name, data = json.loads(text)
    return _CONVERTER.structure(data, _RESULTS[name])


def encode_error(error: FaceWarpError) -> str:
    """Write an error. Its message holds no secret already."""
    data: dict[str, Any] = {"type": type(error).__name__, "message": error.message}
    for name in ("code", "http_status", "task_id", "stage"):
        data[name] = getattr(error, name)
    return json.dumps(data)


def decode_error(text: str) -> FaceWarpError:
    """Read an error; one whose class is no longer known becomes the root."""
    data = json.loads(text)
    error = _ERRORS.get(data["type"], FaceWarpError)(data["message"])
    error.code, error.http_status, error.task_id = data["code"], data["http_status"], data["task_id"]
    error.stage = None if data["stage"] is None else Stage(data["stage"])
    return error
