"""The storage's suite against Ceph: ``python tests/storage/ceph.py``.

Ceph's radosgw is an S3 server that is used in production. This program starts the least of it that there can be, a
monitor, an object store that keeps everything in memory, and the gateway, on free ports of 127.0.0.1 and in a temporary
directory; creates a user and a bucket; and runs ``test_rules.py`` and ``test_transfers.py`` against it. Whatever
happens, Ctrl-C and a kill of this program included, nothing that it started goes on.

It takes Linux and some Debian packages, which it names if they are missing; no privileges, no configuration of Ceph's,
no services. Arguments are passed on to pytest, such as ``-x`` or ``--durations=5``. The exit code is pytest's, 1 if
Ceph does not start, 2 if something is not installed, and 128 with the signal's number after Ctrl-C or another signal.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

import botocore.session
from attrs import Factory, frozen
from botocore.config import Config

HERE = Path(__file__).resolve().parent
SUITE = ("test_rules.py", "test_transfers.py")
BUCKET = "facewarp-test"

PACKAGES = {
    "ceph": "ceph-common",
    "ceph-mon": "ceph-mon",
    "ceph-osd": "ceph-osd",
    "monmaptool": "ceph-base",
    "radosgw": "radosgw",
    "radosgw-admin": "ceph-common",
    "setpriv": "util-linux",
}
"""The commands that are called, and the Debian packages that they are in."""

STEP_S = 60
"""How long a step may take; on two idle cores they take two seconds in all."""

CONFIGURATION = """
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_port}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1

# Between these processes nobody has to prove who they are; the S3 user has to.
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
keyring = {folder}/keyring

# One store, one copy, nothing on the disk but the monitor's own records.
osd objectstore = memstore
osd crush chooseleaf type = 0
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon max pg per osd = 2000

# Otherwise each new pool waits for a second or two.
paxos propose interval = 0.05
paxos min wait = 0.01

mon data = {folder}/mon
osd data = {folder}/osd
run dir = {folder}
crash dir = {folder}
log file = {folder}/$name.log
admin socket =

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{gateway_port}
"""


class CephError(Exception):
    """Ceph did not start."""


@frozen
class Gateway:
    """Where the gateway is, and who may use it."""

    endpoint: str
    access_key: str = Factory(lambda: secrets.token_hex(10))
    secret_key: str = Factory(lambda: secrets.token_hex(20))


class Ceph:
    """A cluster of one, in a folder.

    Args:
        folder: Empty; for everything that is written.
        stack: Ends the processes when it is closed.
    """

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self._folder = folder
        self._stack = stack
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._environ["CEPH_CONF"] = str(folder / "ceph.conf")

    def start(self) -> Gateway:
        """Start everything, one after the other, and return the gateway when it answers."""
        fsid, store, (mon_port, gateway_port) = str(uuid.uuid4()), str(uuid.uuid4()), _free_ports(2)
        gateway = Gateway(f"http://127.0.0.1:{gateway_port}")
        configuration = CONFIGURATION.format(
            fsid=fsid, mon_port=mon_port, gateway_port=gateway_port, folder=self._folder
        )
        (self._folder / "ceph.conf").write_text(configuration)
        (self._folder / "mon").mkdir()
        (self._folder / "osd").mkdir()
        monmap = str(self._folder / "monmap")
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{mon_port}]", monmap)
        self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
        self._start("ceph-mon", "-i", "a", "-f")
        self._run("ceph", "osd", "new", store)  # waits for the monitor
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", store)
        self._start("ceph-osd", "-i", "0", "-f")
        keys = ("--access-key", gateway.access_key, "--secret-key", gateway.secret_key)
        self._run("radosgw-admin", "user", "create", "--uid", "test", "--display-name", "test", *keys)  # for the store
        self._start("radosgw", "-n", "client.rgw", "-f")
        self._wait_for(gateway_port)
        return gateway

    def logs(self) -> str:
        """Return the end of what each process has written."""
        texts = [
            f"--- {path.name}\n" + "\n".join(path.read_text(errors="replace").splitlines()[-20:])
            for path in sorted([*self._folder.glob("*.log"), *self._folder.glob("*.out")])
        ]
        return "\n".join(texts)

    def _run(self, *command: str) -> None:
        with (self._folder / "commands.out").open("ab") as out:
            try:
                subprocess.run(_mortal(command), env=self._environ, stdout=out, stderr=out, timeout=STEP_S, check=True)
            except subprocess.CalledProcessError as error:
                raise CephError(f"{command[0]} ended with code {error.returncode}") from None
            except subprocess.TimeoutExpired:
                raise CephError(f"{command[0]} was not done after {STEP_S} s") from None

    def _start(self, *command: str) -> None:
        with (self._folder / f"{command[0]}.out").open("ab") as out:
            # In a session of its own: Ctrl-C is this program's affair.
            process = subprocess.Popen(
                _mortal(command), env=self._environ, stdout=out, stderr=out, start_new_session=True
            )
        self._stack.callback(_end, process)
        self._daemons[command[0]] = process

    def _wait_for(self, port: int) -> None:
        give_up_at = time.monotonic() + STEP_S
        while time.monotonic() < give_up_at:
            for name, process in self._daemons.items():
                if process.poll() is not None:
                    raise CephError(f"{name} ended with code {process.returncode}")
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        raise CephError(f"the gateway did not answer after {STEP_S} s")


def _mortal(command: Sequence[str]) -> list[str]:
    """Let the kernel end a command with this program, even if that is killed."""
    return ["setpriv", "--pdeathsig", "KILL", *command]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # they keep nothing that would have to be put in order
    process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


@contextmanager
def running_ceph() -> Iterator[Gateway]:
    """Run Ceph with a user and a bucket."""
    with tempfile.TemporaryDirectory(prefix="facewarp-ceph-") as folder, ExitStack() as stack:
        ceph = Ceph(Path(folder), stack)
        try:
            gateway = ceph.start()
        except CephError as error:
            raise CephError(f"{error}\n{ceph.logs()}") from None
        client = botocore.session.Session().create_client(
            "s3",
            endpoint_url=gateway.endpoint,
            region_name="us-east-1",
            aws_access_key_id=gateway.access_key,
            aws_secret_access_key=gateway.secret_key,
            config=Config(s3={"addressing_style": "path"}, proxies={}),
        )
        client.create_bucket(Bucket=BUCKET)
        yield gateway


def run_suite(gateway: Gateway, options: Sequence[str]) -> int:
    """Run the suite, which prints what passed, and return pytest's exit code."""
    prefix = "FACEWARP_TEST_S3_"
    told = {
        f"{prefix}ENDPOINT": gateway.endpoint,
        f"{prefix}KEY": gateway.access_key,
        f"{prefix}SECRET": gateway.secret_key,
        f"{prefix}BUCKET": BUCKET,
    }
    environ = {name: value for name, value in os.environ.items() if not name.startswith(prefix)} | told
    tests = [str(HERE / name) for name in SUITE]
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "-k", "endpoint", *tests, *options]
    return subprocess.run(_mortal(command), cwd=HERE.parents[1], env=environ, check=False).returncode


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main(options: Sequence[str]) -> int:
    missing = [command for command in PACKAGES if shutil.which(command) is None]
    if missing:
        packages = " ".join(sorted({PACKAGES[command] for command in missing}))
        print(f"not installed: {', '.join(missing)}", file=sys.stderr)
        print(f"    apt-get install --no-install-recommends {packages}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    began = time.monotonic()
    try:
        with running_ceph() as gateway:
            print(f"Ceph answers at {gateway.endpoint} after {time.monotonic() - began:.1f} s", flush=True)
            code = run_suite(gateway, options)
        print(f"all ended after {time.monotonic() - began:.1f} s")
    except CephError as error:
        print(error, file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
