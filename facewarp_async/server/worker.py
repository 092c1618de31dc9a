"""A worker process: reads work on its standard input, answers on its standard output.

Killing it is the way to stop it. It ends by itself when its input ends, also in the middle of some work: so it never
outlives the service, however that dies.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any, BinaryIO, cast

from facewarp_async.server.frames import pack, read_frame
from facewarp_async.server.work import Made, Work, WorkError, dump_made, load_work

BEGUN = "begun"
"""What a worker says when it has got its work: if it dies before, the work can be given to another."""


def main(target: str) -> None:
    """Work until the input ends.

    Args:
        target: The function that does the work, as ``module:name``.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    # What libraries print must not get between the answers.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(sys.stdin.buffer, requests), daemon=True).start()
    function = _load(target)
    while True:
        request = requests.get()
        _send(answers, BEGUN)
        _send(answers, _answer(function, request))


def _send(answers: BinaryIO, document: Any) -> None:
    answers.write(pack(document))
    answers.flush()


def _read(source: BinaryIO, requests: queue.SimpleQueue[Any]) -> None:
    while (request := read_frame(source)) is not None:
        requests.put(request)
    os._exit(0)


def _load(target: str) -> Callable[[Work], Made]:
    module, _, name = target.partition(":")
    return cast("Callable[[Work], Made]", getattr(import_module(module), name))


def _answer(function: Callable[[Work], Made], request: Any) -> dict[str, Any]:
    try:
        return {"made": dump_made(function(load_work(request)))}
    except WorkError as error:
        return {"code": error.code, "message": error.message}
    except Exception as error:
        return {
            "code": 601,
            "message": f"Task exception occurred: {type(error).__name__}",
            "traceback": traceback.format_exc(),
        }
