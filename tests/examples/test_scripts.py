"""The scripts do what they say, and say what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from facewarp_async.server import CREATES, Fault, FaultRule, InstantRunner, LocalService

Example = Callable[[str], ModuleType]
Use = Callable[[LocalService], None]
MakeFile = Callable[..., Path]

pytestmark = pytest.mark.anyio


@pytest.mark.slow
async def test_the_script_replaces_one_face_of_several(
    example: Example, in_environment: Use, local: LocalService, make_file: MakeFile, tmp_path: Path
) -> None:
    in_environment(local)
    group, out = make_file("group.png"), tmp_path / "out.png"
    assert await example("script.py").main(str(group), str(make_file("me.png")), str(out)) is None
    assert out.read_bytes() == group.read_bytes()
    assert len(local.ledger.creations) == 3  # two detections and a swap


async def test_the_script_tells_of_nobody_and_of_doubt(
    example: Example, in_environment: Use, make_file: MakeFile, tmp_path: Path
) -> None:
    arguments = str(make_file("group.png")), str(make_file("me.png")), str(tmp_path / "out.png")
    main = example("script.py").main
    async with LocalService(runner=InstantRunner(faces=0)) as service:
        in_environment(service)
        assert "nobody is on it" in await main(*arguments)
        service.faults.add(FaultRule(Fault.RESET_AFTER, CREATES))
        assert "could pay twice" in await main(*arguments)
    assert not (tmp_path / "out.png").exists()


async def test_a_folder_is_swapped_and_gone_on_with(
    example: Example,
    in_environment: Use,
    local: LocalService,
    make_file: MakeFile,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    in_environment(local)
    media = [make_file("in/a.png"), make_file("in/b.png")]
    (tmp_path / "in" / "c.png").write_bytes(b"")
    arguments = str(tmp_path / "in"), str(make_file("me.png")), str(tmp_path / "out")
    for before in ("", " (done before)"):
        assert await example("folder.py").main(*arguments) == 1
        said = capsys.readouterr().out.splitlines()
        assert said[:2] == [f"{path} -> {tmp_path / 'out' / path.name}{before}" for path in media]
        assert said[2].startswith(f"{tmp_path / 'in' / 'c.png'}: ")
    assert len(local.ledger.creations) == 2


async def test_a_folder_without_credits_or_without_a_key_ends_with_a_code_of_its_own(
    example: Example, in_environment: Use, make_file: MakeFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        make_file(f"in/{name}.png")
    arguments = str(tmp_path / "in"), str(make_file("me.png")), str(tmp_path / "out")
    async with LocalService(runner=InstantRunner(), credits=1) as service:
        in_environment(service)
        assert await example("folder.py").main(*arguments) == 3
    monkeypatch.delenv("FACEWARP_API_KEY")
    assert await example("folder.py").main(*arguments) == 2
