"""Swaps of the portraits look as they did when somebody last looked; `golden.py` beside this renders them anew."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.engine import golden
else:
    _name = "_facewarp_async_golden"
    _spec = importlib.util.spec_from_file_location(_name, Path(__file__).with_name("golden.py"))
    golden = sys.modules[_name] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(golden)

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", golden.SCENES)
def test_swap_looks_as_its_golden_picture_does(name: str) -> None:
    distance = golden.compare(golden.golden(name), golden.SCENES[name]())
    print(distance)
    assert distance.is_small


@pytest.mark.parametrize("name", golden.SCENES)
def test_untouched_portrait_does_not_pass_for_the_swap(name: str) -> None:
    distance = golden.compare(golden.golden(name), golden.UNTOUCHED[name.partition("-")[0]]())
    print(distance)
    assert distance.structure < golden.LEAST_STRUCTURE
    assert distance.colour > golden.MOST_COLOUR


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("collins-gets-hopper-fast", "hopper-gets-collins-fast"),
        ("collins-gets-hopper-hd", "hopper-gets-collins-hd"),
        ("clip-hopper-gets-collins-hd", "hopper-gets-collins-hd"),
        ("hopper-gets-collins-hd", "hopper-gets-collins-fast"),
    ],
)
def test_other_swap_does_not_pass(name: str, other: str) -> None:
    """Not even the same face at the other quality, where it is large enough to differ."""
    assert not golden.compare(golden.golden(name), golden.golden(other)).is_small


def test_golden_pictures_are_small_and_none_is_left_over() -> None:
    files = {path.stem: path.stat().st_size for path in golden.FOLDER.iterdir()}
    assert set(files) == set(golden.SCENES)
    assert max(files.values()) <= 40_000
