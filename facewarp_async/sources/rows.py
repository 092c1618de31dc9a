"""The rows of a manifest, whatever it is written in."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from tempfile import TemporaryFile
from typing import Any, BinaryIO, TextIO

from attrs import frozen

from facewarp_async.errors import InputError, MissingFileError
from facewarp_async.remote.reading import copy_to
from facewarp_async.text import shorten
from facewarp_async.urls import Location, RemoteFile

COLUMNS = ("media", "face", "faces", "kind", "hd", "name")
_SEPARATORS = ",;\t"
_NAME_SHOWN = 40
"""How much is told of a column's name: in a file that is no manifest it is the whole first line."""


@frozen
class Row:
    """One row.

    Attributes:
        path: The manifest.
        line: The line on which the row ends, from 1.
        values: By column; what is not there is blank or missing.
    """

    path: Location
    line: int
    values: Mapping[str, Any]

    def error(self, column: str, what: str) -> InputError:
        """Return an error that names the place."""
        return InputError(f"{self.path}, line {self.line}, column {column}: {what}")


def read_rows(path: Location) -> Iterator[Row]:
    """Read the rows of a manifest, one at a time. Blank ones are passed over.

    Raises:
        InputError: A row cannot be read.
        MissingFileError: The manifest cannot be.
        TransportError: The manifest's store cannot be reached.
    """
    try:
        # A byte that is no UTF-8 stays what it is: the names of files may hold such.
        with _open(path) as raw, TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            is_json = file.read(64).lstrip().startswith("{")
            file.seek(0)
            yield from _json_rows(path, file) if is_json else _csv_rows(path, file)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise MissingFileError(f"{path}: cannot be read: {reason}") from error


def _open(path: Location) -> BinaryIO:
    if not isinstance(path, RemoteFile):
        return path.open("rb")
    copy = TemporaryFile()  # noqa: SIM115 - closed by who reads it
    try:
        copy_to(path, copy)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy


def _json_rows(path: Location, file: TextIO) -> Iterator[Row]:
    for line, text in enumerate(file, 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {line}: is no JSON: {error}") from error
        if not isinstance(values, dict):
            raise InputError(f"{path}, line {line}: expected a JSON object, with the fields {', '.join(COLUMNS)}")
        row = Row(path, line, values)
        _check_columns(row, values)
        yield row


def _csv_rows(path: Location, file: TextIO) -> Iterator[Row]:
    header = file.readline()
    file.seek(0)
    separator = next((char for char in header if char in _SEPARATORS), ",")
    reader = csv.reader(file, delimiter=separator, strict=True)
    names: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = [cell.strip().lower() for cell in cells]
                _check_header(Row(path, reader.line_num, {}), names)
            else:
                yield _csv_row(path, reader.line_num, names, cells)
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: is no CSV: {error}") from error


def _csv_row(path: Location, line: int, names: list[str], cells: list[str]) -> Row:
    row = Row(path, line, dict(zip(names, (cell.strip() for cell in cells), strict=False)))
    if len(cells) > len(names):
        raise row.error(str(len(cells)), f"the header has {len(names)} columns")
    return row


def _check_header(row: Row, names: list[str]) -> None:
    _check_columns(row, names)
    for name in names:
        if names.count(name) > 1:
            raise row.error(name, "is there twice")
    if "media" not in names:
        raise row.error("media", f"is missing: expected a header with some of {', '.join(COLUMNS)}")


def _check_columns(row: Row, names: Mapping[str, Any] | list[str]) -> None:
    for name in names:
        if name not in COLUMNS:
            raise row.error(repr(shorten(name, _NAME_SHOWN)), f"is not known: expected some of {', '.join(COLUMNS)}")
