"""Demonstrations of generation on disk: recordings with their text, and pairs of recordings."""

from __future__ import annotations

import os
from pathlib import Path

from llmcodec.audio import audio_info
from llmcodec.errors import ConfigError
from llmcodec.evaluation.dataset import FILE, METADATA, PathLike, audio_paths, read_table, rows_of_subfolders

TOLERANCE = 0.05  # seconds by which the two of a pair may differ


def read_spoken(path: PathLike) -> tuple[list[Path], list[str]]:
    """Recordings and the text of each.

    path: a folder with one sub-folder of clips per text (its name; _ is a space), a folder with metadata.csv (columns
    file_name and text) or a CSV file (columns file and text, files relative to its folder). ConfigError: none of these.
    """
    path = Path(path)
    if path.is_dir() and not (path / METADATA).exists():
        rows = rows_of_subfolders(path)
        return [path / row.cells[FILE] for row in rows], [row.cells["label"].replace("_", " ") for row in rows]
    source, column = (path / METADATA, "file_name") if path.is_dir() else (path, FILE)
    rows = read_table(source, (column, "text"))
    return list(audio_paths(source, rows, column)), [row.cells["text"] for row in rows]


def read_pairs(path: PathLike, given: str, wanted: str) -> tuple[list[Path], list[Path]]:
    """Two recordings of each row of a CSV file with columns `given` and `wanted`, relative to its folder.

    ConfigError: unreadable, a file is not there, the two of a row are not equally long (to 0.05 s).
    """
    path = Path(path)
    if path.is_dir():
        raise ConfigError(f"{path}: is a folder; a CSV file with columns {given}, {wanted} is needed")
    rows = read_table(path, (given, wanted))
    pairs: tuple[list[Path], list[Path]] = ([], [])
    for row in rows:
        files = [path.parent / row.cells[column] for column in (given, wanted)]
        for column, file in zip((given, wanted), files, strict=True):
            if not os.path.isfile(file):
                raise ConfigError(f"{path}: line {row.number}: {row.cells[column]}: no such audio file")
        first, second = (audio_info(file).seconds for file in files)
        if abs(first - second) > TOLERANCE:
            raise ConfigError(
                f"{path}: line {row.number}: {given} lasts {first:.2f} s and {wanted} {second:.2f} s; a pair must be "
                "of one recording"
            )
        for column_files, file in zip(pairs, files, strict=True):
            column_files.append(file)
    return pairs
