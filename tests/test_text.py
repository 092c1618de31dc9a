"""Text from elsewhere on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from facewarp_async.text import seconds, shorten, visible, visible_block


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("two\nlines", r"two\nlines"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("bell\x07", r"bell\x07"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("broken\udcff", r"broken\udcff"),
        ("[red]markup[/red]", "[red]markup[/red]"),
        ("Ünïcödé 写真 👩\u200d🚀", "Ünïcödé 写真 👩\u200d🚀"),
    ],
)
def test_what_steers_a_terminal_is_shown_and_the_rest_stays(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text(alphabet=st.characters()))
def test_shown_text_is_one_printable_line(text: str) -> None:
    shown = visible(text).replace("\u200d", "")
    assert shown.isprintable()
    shown.encode()  # no half of a surrogate pair is left


def test_a_block_keeps_its_lines() -> None:
    assert visible_block("one\n\x1b[2Jtwo") == "one\n\\x1b[2Jtwo"


@given(st.text(), st.integers(3, 40))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, width: int) -> None:
    short = shorten(text, width)
    assert len(short) <= width
    assert short == text or (text.startswith(short[0]) and text.endswith(short[-1]))


@pytest.mark.parametrize(
    ("duration_s", "shown"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (61, "1 min 1 s"), (7260, "2 h 1 min")]
)
def test_durations_are_for_people(duration_s: float, shown: str) -> None:
    assert seconds(duration_s) == shown
