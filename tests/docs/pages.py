"""The pages, and the code blocks on them."""

from __future__ import annotations

import re
from pathlib import Path

from attrs import frozen

ROOT = Path(__file__).parents[2]
MARK = b"Synthetic media"
"""What each result of the local engine has in it."""


@frozen
class Block:
    """A code block, and the output that the page shows right below it."""

    page: str
    language: str
    number: int
    text: str
    output: str | None

    @property
    def name(self) -> str:
        return f"{self.page}:{self.language}:{self.number}"


def blocks_of(page: Path) -> list[Block]:
    found: list[Block] = []
    fences = re.finditer(r"^```(.*?)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", page.read_text(), re.DOTALL | re.M)
    for language, text, output in (fence.groups() for fence in fences):
        if language.startswith("{"):  # a directive of the site's
            continue
        number = 1 + sum(block.language == language for block in found)
        found.append(Block(page.name, language, number, text, output))
    return found


def block_named(page: Path, name: str) -> Block:
    (block,) = [each for each in blocks_of(page) if each.name == f"{page.name}:{name}"]
    return block
