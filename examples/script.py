"""Swap faces in a picture of several people: find the faces, choose, swap.

    python script.py group.jpg me.jpg out.jpg

The face from the second picture goes to the leftmost person of the first. The service and the credentials come from the
environment.
"""

from __future__ import annotations

import asyncio
import sys

from facewarp_async import FaceSwapClient, FaceWarpError, InDoubtError, TaskTimeoutError


async def swap_leftmost(client: FaceSwapClient, media: str, face: str, out: str) -> int:
    """Put a face onto the leftmost person of a picture, and return how many persons there are."""
    found = await client.detect_faces(media)
    if found.faces:
        result = await client.swap_faces(media, {0: face}, hd=True, timeout_s=300)
        await client.download(result, out)
    return len(found.faces)


async def main(media: str, face: str, out: str) -> str | None:
    """Do it, and return what there is to complain about."""
    async with FaceSwapClient.from_env() as client:
        try:
            persons = await swap_leftmost(client, media, face, out)
        except InDoubtError as error:
            return f"{error}"  # it may be paid for: a script must not simply try again
        except TaskTimeoutError as error:
            return f"not ready yet. Later: facewarp task {error.task_id} -o {out}"
        except FaceWarpError as error:
            return f"{error}"
    if not persons:
        return f"{media}: nobody is on it"
    print(f"{out}: one of {persons} has a new face")
    return None


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(asyncio.run(main(*sys.argv[1:])))
