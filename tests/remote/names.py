"""Names of objects that have to be encoded on their way, or mean something else to a store."""

from __future__ import annotations

NAMES = ["plain.png", "a b+c~d/é%2F%7E(1)'!*.png", "k=v&x#y?z.png", "顔/🙂 %.png", "a::b[0]*.png"]
