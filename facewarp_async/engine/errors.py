"""The one error that the engine raises, with the code that a task's answer carries."""

from __future__ import annotations

TASK_FAILED = 601
NO_FACE = 602
SEVERAL_FACES = 603
UNREADABLE_FILE = 701
UNSUPPORTED_FORMAT = 703
TOO_LARGE = 704


class EngineError(Exception):
    """A medium or a face could not be worked on.

    Pickles with both of its fields, so that a worker process can hand it to the process that started it.

    Attributes:
        code: The protocol's code: 601 the task failed, 602 no face, 603 several faces where one is expected, 701 the
            file cannot be read, 703 its format is not supported, 704 it is too large.
        message: What is wrong, in one sentence, without any path of the server.
    """

    def __init__(self, code: int, message: str) -> None:
        # Both go into `args`: that is what unpickling calls the class with.
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.message} (code {self.code})"
