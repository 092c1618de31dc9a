"""Pictures and clips of a few bytes, which any program can open. Pure, but for the writing."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

_JPEG = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8"
    "ybqmx5moq6T/wAALCAAIAAgBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAABP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AY//Z"
)
"""Eight by eight pixels of grey."""

_MP4 = zlib.decompress(
    base64.b64decode(
        "eNp9VL1v1DAU97UUlQ+JAh06FGG+Jrhrkl5PpVKkfqjiBpBYQAghRT7bacLZcWr7rr1ODAyIHQb2DvwFSEhIDAxMzBQxwIJgAfEXHM9p"
        "Tw0HrRP7Pb+P3/N7zwlCCMe2l6dGSYRGkKMwA9KlvszrPkJoPNacgy6VjFigq0fH+v2lz6s/3nzbab56fu0j3rn089dm0KjjKqZKc+w3"
        "5oBt1kA0c+v26o1qHS/dXQEd4xQUKyrvCR5bHHjebDXwAmedWJsvzMxsbGzUuinjSpCspvTajMOtJVYKsFG5TVVmFjAlLUJDD2sehz5m"
        "vCUUbYfeAjyYZET0DHc7LHnIUoJNpwWch3PTA3NYI81Cv+aBCSxYppucRQ7LeUSaZGs89BuYJlpJEoGrj63mQqQGLOY35xm1wNB1CSvj"
        "hG2pjIeBf833cUyMjXLTTnNw2gNYzyMVx4Y7J5tocDCgFEq1SQKbaF9mREr5vsDDmS5C0FQS646RZpZrQcAI5C3R0aQXUSVzUhwIamM1"
        "STOAAENNnE2sieQOaoOna4nNgWvzHqjDYG7ARjLNwgAbyjNOOw6qcHcl0dwkrtA0pDrGsgV1cJWETRjM1jy87qKHXq0BbO5gCko2w8Z1"
        "YIzleVjHaQ5FhdZBzevQoPXQQ4/gYp3gTx4vnH6KRvD5L7AdW3qBz2wjNDolleqCQMhuwtBfY/R7MSvIvfuj8rfV8H4RHTpG4F2GfNvA"
        "P7DtIubov2gu9uFx/ht3Ym8idJkza4BOc2HsvscebuFbeS3hwgKDJRvOfbGYd94Vm2rChB5o3AdTtrzrPqAmyZjgzqbCoTExMJNdWYCW"
        "j3mZ7eqmGXS7lMbJjhZ4l69cMbYlgN821rCSzTP3lzigFC7pCdQE2jzQYnhM9fuwXgXUlcry2+P9r2hyDeinrQnXkGJZ/H3xYQUdST6c"
        "eu8Sgvu4V8mz4wMQY4sqD0JCd10eaBIOX5a7OQ0yOiQbKem2hm7JPaDHdrGoKvl5MFsdZl3n7kteUDculLsEndUkz0U542q6exWuvLTK"
        "AZ6DXywZ1Oom6caNoObD6wV/AM5SMVM="
    )
)
"""A second of H.264: two frames of sixteen by sixteen pixels."""


def jpeg(salt: str = "") -> bytes:
    """Return a JPEG that differs with the salt."""
    note = salt.encode()[:60_000]
    return _JPEG[:2] + b"\xff\xfe" + struct.pack(">H", len(note) + 2) + note + _JPEG[2:]


def png(salt: str = "") -> bytes:
    """Return a PNG that differs with the salt: eight by eight pixels of grey."""
    rows = b"\0" + b"\xaa" * 8
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)),
            _chunk(b"tEXt", b"Comment\0" + base64.b64encode(salt.encode())),
            _chunk(b"IDAT", zlib.compress(rows * 8)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def mp4(salt: str = "") -> bytes:
    """Return an MP4 that differs with the salt."""
    note = salt.encode()
    return _MP4 + struct.pack(">I", len(note) + 8) + b"free" + note


_MAKERS: dict[str, Callable[[str], bytes]] = {".jpg": jpeg, ".jpeg": jpeg, ".png": png, ".mp4": mp4}


class MediaFolder:
    """Writes small valid pictures and clips into a folder.

    Args:
        folder: Where; folders that are missing are made.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, *, salt: str | None = None) -> Path:
        """Write a file and return its path.

        Args:
            name: Its name or path below the folder. The extension says what it is: jpg, jpeg, png or mp4.
            salt: Files differ with their name, unless this is given: the same salt makes the same content.

        Raises:
            ValueError: The extension is another.
        """
        path = self.folder / name
        make = _MAKERS.get(path.suffix.lower())
        if make is None:
            raise ValueError(f"{name}: expected a name that ends in {', '.join(_MAKERS)}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make(name if salt is None else salt))
        return path
