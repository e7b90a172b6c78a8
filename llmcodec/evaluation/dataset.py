"""Labelled recordings on disk: an audiofolder, a table, a folder with one sub-folder per label, a saved dataset."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from llmcodec.audio import is_audio
from llmcodec.errors import ConfigError
from llmcodec.evaluation.saved import is_saved, read_saved
from llmcodec.evaluation.superb import TASK, read_superb

GROUP_COLUMNS = ("recording", "speaker", "voice")  # what a query and its demonstrations should not share
FILE = "file"
METADATA = "metadata.csv"

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class LabelledFolder:
    """Labelled clips; `files`, `labels` and `groups` run in parallel.

    groups: what a clip was cut from or who speaks in it. A query and its demonstrations never share a group.
    group_by: the columns that the groups come from, joined by " + "; "file": every clip is its own group.
    kept: what the files need to stay.
    """

    root: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...]
    groups: tuple[str, ...]
    group_by: str
    kept: object = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        return len(self.files)

    @property
    def classes(self) -> tuple[str, ...]:
        """The different labels, sorted."""
        return tuple(sorted(set(self.labels)))

    @property
    def names(self) -> tuple[str, ...]:
        """Each file as written relative to `root`, with / between folders."""
        return tuple(Path(os.path.relpath(file, self.root)).as_posix() for file in self.files)

    def subset(self, clips: Iterable[int]) -> LabelledFolder:
        """The clips at those positions, at least one."""
        rows = [(self.files[clip], self.labels[clip], self.groups[clip]) for clip in clips]
        files, labels, groups = zip(*rows, strict=True)
        return replace(self, files=files, labels=labels, groups=groups)


@dataclass(frozen=True)
class TableRow:
    """One row of a table: `number` is its line in the file (the header is line 1)."""

    number: int
    cells: dict[str, str]


def read_labelled(path: PathLike, group_by: str | None = None) -> LabelledFolder:
    """Read labelled clips from one of five forms.

    path: a folder with metadata.csv (columns file_name and label, any others); a CSV file (columns file and label, any
        others, files relative to its folder); a folder with one sub-folder of audio files per label; a dataset of
        `datasets` that was saved to disk (see `read_saved`); or a task of Dynamic-SUPERB (see `read_superb`).
    group_by: name of the column that query and demonstrations may not share, or "file". Default: all of recording,
        speaker, voice that have more than one value within every label (clips that share any of them are one group),
        else the file itself.

    Raises ConfigError: no such form, a column, audio file or label is missing, a file is listed twice, an unknown
    group column, fewer than two labels.
    """
    path = Path(path)
    source, column, kept = path, FILE, None
    if is_saved(path):
        kept = read_saved(path)
        root, rows = Path(kept.folder.name) / path.resolve().name, [TableRow(*row) for row in enumerate(kept.rows, 1)]
    elif (path / TASK).is_file() and not (path / METADATA).exists():
        root, rows = path, [TableRow(*row) for row in enumerate(read_superb(path), 1)]
    elif path.is_dir() and not (path / METADATA).exists():
        root, rows = path, rows_of_subfolders(path)
    else:
        if path.is_dir():
            source, column = path / METADATA, "file_name"
        root, rows = source.parent, read_table(source, (column, "label"))
    files = tuple(kept.files) if kept else audio_paths(source, rows, column)
    labels = tuple(row.cells["label"] for row in rows)
    if len(set(labels)) < 2:
        raise ConfigError(f"{source}: every clip has the label {labels[0]!r}; at least two labels are needed")
    columns = [name for name in rows[0].cells if name not in (column, "label")]
    chosen = _group_columns(columns, rows, group_by, source)
    for row in rows:
        for name in chosen:
            if not row.cells[name]:
                raise ConfigError(
                    f"{source}: line {row.number}: column {name} is empty; query and demonstrations are split by it"
                )
    groups = _connected([[(name, row.cells[name]) for name in chosen] for row in rows])
    return LabelledFolder(root, files, labels, groups, " + ".join(chosen) or FILE, kept)


def read_table(path: Path, needed: Sequence[str]) -> list[TableRow]:
    """Rows of a CSV file with a header, at least one. ConfigError: unreadable, or a needed column or cell missing."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            rows = [(reader.line_num, row) for row in reader]
            columns = list(reader.fieldnames or ())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; a table with columns {', '.join(needed)} is needed") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: byte {error.start} is not UTF-8 text") from error
    except csv.Error as error:
        raise ConfigError(f"{path}: no valid CSV ({error})") from error
    for name in needed:
        if name not in columns:
            raise ConfigError(f"{path}: has no column {name!r}; its columns are {', '.join(columns) or 'none'}")
    if not rows:
        raise ConfigError(f"{path}: has no rows; at least one clip is needed")
    table = []
    for number, row in rows:
        if None in row or None in row.values():
            raise ConfigError(f"{path}: line {number}: must have {len(columns)} cells, as the header has")
        cells = {name: cell.strip() for name, cell in row.items()}
        for name in needed:
            if not cells[name]:
                raise ConfigError(f"{path}: line {number}: column {name} is empty")
        table.append(TableRow(number, cells))
    return table


def audio_paths(source: Path, rows: Iterable[TableRow], column: str) -> tuple[Path, ...]:
    """The audio file of each row, relative to the table's folder. ConfigError: not there, or listed twice."""
    folder = source if source.is_dir() else source.parent
    paths: dict[Path, int] = {}
    for row in rows:
        path = folder / row.cells[column]
        if path in paths:
            raise ConfigError(f"{source}: line {row.number}: {row.cells[column]} stands in line {paths[path]} already")
        if not os.path.isfile(path):  # also of names that no file can have
            raise ConfigError(f"{source}: line {row.number}: {row.cells[column]}: no such audio file in {folder}")
        paths[path] = row.number
    return tuple(paths)


def audio_files(folder: PathLike) -> tuple[Path, ...]:
    """Every clip of a folder: those of its metadata.csv, else all audio files below it. ConfigError: none."""
    folder = Path(folder)
    if (folder / METADATA).exists():
        return audio_paths(folder / METADATA, read_table(folder / METADATA, ("file_name",)), "file_name")
    found = tuple(sorted(path for path in folder.rglob("*") if is_audio(path)))
    if not found:
        raise ConfigError(f"{folder}: no audio files; a folder with metadata.csv or audio files is needed")
    return found


def rows_of_subfolders(folder: Path) -> list[TableRow]:
    """Columns file and label of the clips of a folder with one sub-folder per label. ConfigError: it has none."""
    rows: list[TableRow] = []
    for label in sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith(".")):
        clips = sorted(path for path in label.iterdir() if is_audio(path))
        if not clips:
            raise ConfigError(f"{label}: no audio files; each sub-folder of {folder} is a label and holds its clips")
        for clip in clips:
            rows.append(TableRow(len(rows) + 1, {FILE: name_of(clip, folder), "label": label.name}))
    if not rows:
        raise ConfigError(f"{folder}: neither {METADATA} nor sub-folders; one sub-folder of clips per label is needed")
    return rows


def name_of(file: Path, folder: Path) -> str:
    """A file as written relative to a folder, with / between folders. ConfigError when the name is no text."""
    name = file.relative_to(folder).as_posix()
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="backslashreplace").decode()
        raise ConfigError(f"{folder}: the name {shown} is not UTF-8 text; rename it") from error
    return name


def _group_columns(columns: Sequence[str], rows: Sequence[TableRow], group_by: str | None, source: Path) -> list[str]:
    """The columns that query and demonstrations may not share; none: the file."""
    if group_by is not None:
        if group_by != FILE and group_by not in columns:
            allowed = ", ".join((FILE, *columns))
            raise ConfigError(f"{source}: no column {group_by!r} to group by; allowed: {allowed}")
        return [] if group_by == FILE else [group_by]
    chosen = []
    for name in GROUP_COLUMNS:
        values: dict[str, set[str]] = defaultdict(set)
        for row in rows:
            values[row.cells["label"]].add(row.cells.get(name, ""))
        if all(len(found) > 1 and "" not in found for found in values.values()):
            chosen.append(name)
    return chosen


def _connected(marks: Sequence[Sequence[Hashable]]) -> tuple[str, ...]:
    """A group for each item: the same where a chain of shared marks leads from one to the other."""
    parent = list(range(len(marks)))

    def root(item: int) -> int:
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    first: dict[Hashable, int] = {}
    for item, own in enumerate(marks):
        for mark in own:
            parent[root(item)] = root(first.setdefault(mark, item))
    return tuple(str(root(item)) for item in range(len(marks)))
