"""Text for people; that from elsewhere, such as file names, made harmless for a terminal or a page. Pure."""

from __future__ import annotations

_JOINER = "\u200d"  # holds emoji together and does nothing else


def visible(text: object) -> str:
    """Return a text with all that does not print as an escape: no new line, colour, bell or change of direction.

    What prints stays as it is, whatever the script. A byte of a file name that is no UTF-8 becomes ``\\udcXX``.
    """
    return "".join(char if char.isprintable() or char == _JOINER else _escape(char) for char in str(text))


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")


def visible_block(text: str) -> str:
    """As `visible`, but a text of several lines keeps them."""
    return "\n".join(visible(line) for line in text.splitlines())


def shorten(text: str, width: int) -> str:
    """Return a text of at most `width` characters, with its beginning and its end."""
    if len(text) <= width:
        return text
    left = (width - 1) // 2
    return f"{text[:left]}…{text[len(text) - (width - 1 - left) :]}"


def seconds(duration_s: float) -> str:
    """Return a duration for people."""
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    minutes, rest = divmod(round(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def bytes_text(number: int) -> str:
    """Return a number of bytes for people."""
    size, unit = float(number), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
