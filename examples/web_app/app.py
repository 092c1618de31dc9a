"""A web app: upload a picture and a face, watch the progress, see the result.

    python examples/web_app/app.py      # then open http://127.0.0.1:8080

The service and the credentials come from the environment. What is worth copying: one client for the app; uploads
streamed to disk under a limit; swaps that outlive the request which began them, and of which only so many run at once;
progress by server-sent events; nothing of the inside on the page, such as paths and messages of errors; and an end that
lets running swaps finish. Before others can reach it, put a login and TLS in front: each swap is paid for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import aiofiles
import aiofiles.tempfile
from aiohttp import BodyPartReader, web
from attrs import Factory, define

from facewarp_async import (
    Completed,
    Event,
    FacePolicyError,
    FaceSwapClient,
    FaceWarpError,
    Failed,
    ImageSwap,
    InputError,
    MediaPolicyError,
    MultipleFacesError,
    NoFaceError,
    StageBegun,
    SwapPipeline,
    Timeouts,
)

log = logging.getLogger("web_app")

MAX_FILE_BYTES = 20 * 1024 * 1024
UPLOAD_S = 120.0  # how long a visitor may take to send both files
MOST_AT_ONCE = 20  # swaps that are sent or run; further visitors are asked to come back
KEEP_S = 15 * 60.0  # how long a result may be looked at
GRACE_S = 30.0  # how long running swaps may take to end when the app is stopped
STILL_HERE_S = 15.0  # between signs of life to the browser, and to what is in between

STATIC = Path(__file__).parent / "static"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@define(eq=False)
class Swap:
    """One visitor's swap.

    Attributes:
        folder: Where its files are.
        state: A stage of the pipeline, or ``done`` or ``failed``.
        message: What to tell the visitor about a failure.
        path: The result.
        changed: Set, and replaced, whenever the state changes.
    """

    folder: Path
    state: str = "check"
    message: str = ""
    path: Path | None = None
    changed: asyncio.Event = Factory(asyncio.Event)

    @property
    def ended(self) -> bool:
        """Whether it is done or has failed."""
        return self.state in {"done", "failed"}

    def tell(self, state: str, message: str = "") -> None:
        """Go on to another state, and let all who watch know."""
        self.state, self.message = state, message
        self.wake()

    def wake(self) -> None:
        """Let those who watch look again."""
        self.changed.set()
        self.changed = asyncio.Event()


class Swaps:
    """All swaps of the app, by a name that nobody can guess."""

    def __init__(self, client: FaceSwapClient, folder: Path) -> None:
        self.stopping = False
        self._client = client
        self._folder = folder
        self._known: dict[str, Swap] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def __getitem__(self, name: str) -> Swap:
        if name not in self._known:
            raise web.HTTPNotFound
        return self._known[name]

    @property
    def are_too_many(self) -> bool:
        """Whether another one would be one too many."""
        return self.stopping or sum(not swap.ended for swap in self._known.values()) >= MOST_AT_ONCE

    async def add(self) -> tuple[str, Swap]:
        """Make room for a swap."""
        name = secrets.token_urlsafe(16)
        self._known[name] = swap = Swap(self._folder / name)
        await asyncio.to_thread(swap.folder.mkdir)
        return name, swap

    async def drop(self, name: str) -> None:
        """Forget a swap and its files."""
        swap = self._known.pop(name)
        await asyncio.to_thread(shutil.rmtree, swap.folder)

    def begin(self, name: str, media: Path, face: Path) -> None:
        """Run a swap, apart from the request that asked for it: a visitor who leaves must not lose what is paid for."""
        task = asyncio.create_task(self._live(name, ImageSwap(media, face, name="result")))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _live(self, name: str, job: ImageSwap) -> None:
        try:
            await self._run(self._known[name], job)
            await asyncio.sleep(KEEP_S)
        finally:
            await self.drop(name)

    async def _run(self, swap: Swap, job: ImageSwap) -> None:
        def on_event(event: Event) -> None:
            if isinstance(event, StageBegun):
                swap.tell(event.stage)

        try:
            async with SwapPipeline(self._client, output_dir=swap.folder, on_event=on_event) as pipeline:
                report = await pipeline.collect([job])
        except Exception:  # one visitor's trouble must not be the app's
            log.exception("a swap broke")
            swap.tell("failed", "Something went wrong. Please try again later.")
            return
        match report.outcomes[0]:
            case Completed(path=Path() as path):
                swap.path = path
                swap.tell("done")
            case Failed(error=error, task_id=task_id):
                log.warning("a swap failed, task %s: %s", task_id, error)  # holds no secret, but is not for visitors
                swap.tell("failed", explain(error))
            case outcome:
                log.error("a swap was not done: %s", outcome)
                swap.tell("failed", "It did not work. Please try again later.")

    def wake(self) -> None:
        """Let all event streams end."""
        self.stopping = True
        for swap in self._known.values():
            swap.wake()

    async def aclose(self) -> None:
        """Let running swaps end, for a while; then cancel what is left."""
        try:
            async with asyncio.timeout(GRACE_S):
                for swap in list(self._known.values()):
                    while not swap.ended:
                        await swap.changed.wait()
        except TimeoutError:
            log.warning("swaps were cut off: what they paid for is in the account")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def explain(error: FaceWarpError) -> str:
    """Say what a visitor can do about a failure."""
    match error:
        case NoFaceError():
            return "No face was found. Please use pictures that show it clearly and from the front."
        case MultipleFacesError():
            return "There are several faces. Please use pictures with one."
        case MediaPolicyError() | FacePolicyError():
            return "The service does not accept this picture."
        case InputError():
            return "One of the files cannot be used. Please use JPG, PNG, WEBP or GIF pictures."
        case _:
            return "It did not work. Please try again later."


SWAPS = web.AppKey("swaps", Swaps)
routes = web.RouteTableDef()


@routes.get("/")
async def index(_request: web.Request) -> web.StreamResponse:
    """Show the form."""
    return web.FileResponse(STATIC / "index.html")


@routes.post("/swaps")
async def create(request: web.Request) -> web.StreamResponse:
    """Take two pictures and begin a swap; answer with its name."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") != "same-origin":
        raise web.HTTPForbidden(text="Only the app's own page may spend its credits.")
    if request.content_length is not None and request.content_length > 2 * MAX_FILE_BYTES + 10_000:
        raise too_large()
    swaps = request.app[SWAPS]
    if swaps.are_too_many:
        raise web.HTTPServiceUnavailable(text="Many swaps are running. Please try again.")
    name, swap = await swaps.add()
    try:
        async with asyncio.timeout(UPLOAD_S):
            await receive(request, swap.folder)
    except BaseException as error:
        await swaps.drop(name)
        if isinstance(error, TimeoutError):
            raise web.HTTPRequestTimeout(text="It took too long to send the files.") from error
        raise
    swaps.begin(name, swap.folder / "media", swap.folder / "face")
    return web.json_response({"swap": name}, status=202)


async def receive(request: web.Request, folder: Path) -> None:
    """Stream the form's files to disk. They are named by what they are for, never as the browser says."""
    if not request.content_type.startswith("multipart/"):
        raise web.HTTPUnsupportedMediaType
    missing = {"media", "face", "consent"}
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name not in missing:
            raise web.HTTPBadRequest(text="Please send each field once.")
        missing.remove(part.name)
        if part.name == "consent":
            continue
        size = 0
        async with aiofiles.open(folder / part.name, "wb") as file:
            while chunk := await part.read_chunk(256 * 1024):
                size += len(chunk)
                if size > MAX_FILE_BYTES:
                    raise too_large()
                await file.write(chunk)
    if missing:
        raise web.HTTPBadRequest(text="Please give both pictures, and say that the people on them agree.")


def too_large() -> web.HTTPException:
    """Return the refusal of a file that is too large."""
    text = f"Please use files of up to {MAX_FILE_BYTES // 1024 // 1024} MB."
    return web.HTTPRequestEntityTooLarge(MAX_FILE_BYTES, 0, text=text)


@routes.get("/swaps/{name}/events")
async def events(request: web.Request) -> web.StreamResponse:
    """Tell the browser each state of a swap, until it has ended or the app is stopped."""
    swaps = request.app[SWAPS]
    swap = swaps[request.match_info["name"]]
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    )
    await response.prepare(request)
    told = None
    try:
        while True:
            changed, state = swap.changed, {"state": swap.state, "message": swap.message}
            line = ": still here" if state == told else f"data: {json.dumps(state)}"
            await response.write(f"{line}\n\n".encode())
            if swap.ended or swaps.stopping:
                return response
            told = state
            try:
                async with asyncio.timeout(STILL_HERE_S):
                    await changed.wait()
            except TimeoutError:
                continue
    except ConnectionResetError:  # the visitor has left; the swap goes on
        return response


@routes.get("/swaps/{name}/result")
async def result(request: web.Request) -> web.StreamResponse:
    """Give the picture that was made."""
    path = request.app[SWAPS][request.match_info["name"]].path
    if path is None:
        raise web.HTTPNotFound
    return web.FileResponse(path, headers={"Cache-Control": "no-store"})


async def keep_swaps(app: web.Application) -> AsyncIterator[None]:
    """Hold the client, the swaps and their folder as long as the app lives."""
    async with (
        aiofiles.tempfile.TemporaryDirectory(prefix="swaps-") as folder,
        FaceSwapClient.from_env(timeouts=Timeouts(image_task_s=120)) as client,
    ):
        app[SWAPS] = swaps = Swaps(client, Path(folder))
        yield
        await swaps.aclose()


async def end_streams(app: web.Application) -> None:
    """Let event streams end at once when the app is stopped; browsers ask again."""
    app[SWAPS].wake()


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Let the page load nothing from elsewhere."""
    response.headers.update(HEADERS)


def make_app() -> web.Application:
    """Make the app."""
    app = web.Application()
    app.cleanup_ctx.append(keep_swaps)
    app.on_shutdown.append(end_streams)
    app.on_response_prepare.append(add_headers)
    app.add_routes(routes)
    app.router.add_static("/static", STATIC)
    return app


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    web.run_app(make_app(), host="127.0.0.1", port=8080)
