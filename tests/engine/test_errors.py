"""The engine's error crosses process boundaries whole."""

from __future__ import annotations

import pickle

from facewarp_async.engine import EngineError


def test_error_survives_pickling_with_both_fields() -> None:
    error = pickle.loads(pickle.dumps(EngineError(602, "no face in the video")))
    assert isinstance(error, EngineError)
    assert (error.code, error.message) == (602, "no face in the video")


def test_error_text_names_message_and_code() -> None:
    assert str(EngineError(703, "not a picture")) == "not a picture (code 703)"
