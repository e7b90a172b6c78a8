"""Where clips in number come from: folders, Hugging Face datasets, Parquet files, or shards in WebDataset's layout."""

from __future__ import annotations

import fnmatch
import json
import os
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from torch import Tensor

from llmcodec.audio import FILE_SUFFIXES, decode_audio, is_audio, load_audio
from llmcodec.errors import ConfigError, first_line
from llmcodec.evaluation.dataset import name_of, read_table

TABLE = "metadata.csv"
TEXT_COLUMNS = ("text", "transcription", "caption", "sentence")


@dataclass(frozen=True)
class Clip:
    """One clip. `kind` groups clips for balanced sampling; `text` is a caption or transcript, may be empty."""

    file: str
    kind: str
    text: str


class ClipSource(Protocol):
    """Clips that can be read in any order."""

    clips: list[Clip]

    def read(self, clip: Clip) -> Tensor:
        """The waveform float32 [T] at 16 kHz. AudioError names what cannot be read."""
        ...

    def stamp(self, clip: Clip) -> list[int] | None:
        """What changes when the clip does: size and time of the file that holds it."""
        ...


def open_source(data: Path, exclude: Iterable[str] = ()) -> ClipSource:
    """The clips of a folder, told by what lies in it: *.tar, a dataset of `save_to_disk`, *.parquet, else audio files.

    exclude: shell patterns of clip names to leave out. ConfigError when there is nothing, or nothing is left.
    """
    if sorted(data.glob("*.tar")):
        source: ClipSource = Shards(data)
    elif (data / "dataset_info.json").is_file() or sorted(data.glob("*.parquet")):
        source = SavedDataset(data)
    else:
        source = AudioFolder(data)
    patterns = list(exclude)
    source.clips = [clip for clip in source.clips if not any(fnmatch.fnmatch(clip.file, p) for p in patterns)]
    if not source.clips:
        raise ConfigError(f"{data}: every clip is excluded by the recipe" if patterns else f"{data}: holds no clips")
    return source


def file_stamp(path: Path) -> list[int] | None:
    """Size and time of a file or of the files of a folder; none for the hub's names. A change asks for a new cache."""
    files = sorted(path.iterdir()) if os.path.isdir(path) else [path] if os.path.isfile(path) else []
    stats = [file.stat() for file in files]
    return [sum(stat.st_size for stat in stats), max(stat.st_mtime_ns for stat in stats)] if stats else None


class AudioFolder:
    """Audio files, or metadata.csv with `file_name` and, where there, `text` and `kind`; relative to the folder."""

    def __init__(self, data: Path) -> None:
        self.root, table = data, data / TABLE
        if not table.is_file():
            names = [name_of(path, data) for path in sorted(data.rglob("*")) if is_audio(path)]
            self.clips = [_clip(name, {}) for name in names]
            if not names:
                raise ConfigError(
                    f"{data}: holds no clips; audio files are needed, {TABLE} with a column file_name, a dataset of "
                    "save_to_disk, *.parquet with a column audio, or *.tar"
                )
            return
        self.clips = [_clip(row.cells["file_name"], row.cells) for row in read_table(table, ("file_name",))]

    def read(self, clip: Clip) -> Tensor:
        return load_audio(self.root / clip.file)

    def stamp(self, clip: Clip) -> list[int] | None:
        return file_stamp(self.root / clip.file)


class Shards:
    """*.tar files in which the members of a clip share their name up to the first dot: audio, and .txt or .json."""

    def __init__(self, data: Path) -> None:
        self.places: dict[str, tuple[Path, int, int]] = {}  # by clip name: shard, offset, size
        self.stamps: dict[Path, list[int] | None] = {}
        self.clips: list[Clip] = []
        for shard in sorted(data.glob("*.tar")):
            self.stamps[shard] = file_stamp(shard)
            try:
                self._index(shard)
            except (tarfile.TarError, OSError, ValueError) as error:
                raise ConfigError(f"{shard}: not a tar file that can be read: {first_line(error)}") from error

    def _index(self, shard: Path) -> None:
        told: dict[str, dict[str, Any]] = {}
        names: dict[str, str] = {}
        with tarfile.open(shard) as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                key = str(path.parent / path.name.split(".")[0])
                if path.suffix.lower() in FILE_SUFFIXES:
                    names[key] = f"{shard.name}/{member.name}"
                    self.places[names[key]] = (shard, member.offset_data, member.size)
                elif path.suffix in (".txt", ".json"):
                    file = archive.extractfile(member)
                    content = file.read().decode("utf-8") if file else ""
                    told[key] = json.loads(content) if path.suffix == ".json" else {"text": content}
        self.clips += [_clip(name, told.get(key, {})) for key, name in names.items()]

    def read(self, clip: Clip) -> Tensor:
        shard, offset, size = self.places[clip.file]
        with shard.open("rb") as file:
            file.seek(offset)
            return decode_audio(file.read(size), clip.file)

    def stamp(self, clip: Clip) -> list[int] | None:
        return self.stamps[self.places[clip.file][0]]


class SavedDataset:
    """What `datasets.Dataset.save_to_disk` wrote, or Parquet files as on the hub: a column audio and, where there, text
    (or a like name) and kind."""

    def __init__(self, data: Path) -> None:
        try:
            from datasets import Audio, Dataset, load_from_disk
        except ImportError as error:
            raise ConfigError(f"{data}: is a dataset; pip install 'llmcodec[train]' to read it") from error
        self._stamp, files = file_stamp(data), sorted(map(str, data.glob("*.parquet")))
        try:
            table = Dataset.from_parquet(files) if files else load_from_disk(str(data))
        except Exception as error:  # what datasets and pyarrow raise for a damaged one is of many kinds
            raise ConfigError(f"{data}: no dataset that can be read ({first_line(error)})") from error
        if "audio" not in getattr(table, "column_names", ()):
            raise ConfigError(f"{data}: needs one split with a column audio; save_to_disk one split")
        self.rows = table.cast_column("audio", Audio(decode=False))
        others = self.rows.remove_columns("audio")
        told = others if others.column_names else [{}] * len(self.rows)
        self.clips = [_clip(str(number), row) for number, row in enumerate(told)]

    def read(self, clip: Clip) -> Tensor:
        audio = self.rows[int(clip.file)]["audio"]
        return decode_audio(audio["bytes"], clip.file) if audio["bytes"] else load_audio(audio["path"])

    def stamp(self, clip: Clip) -> list[int] | None:
        return self._stamp


def _clip(name: str, told: Mapping[str, Any]) -> Clip:
    text = next((told[column] for column in TEXT_COLUMNS if told.get(column)), "")
    return Clip(name, str(told.get("kind") or "audio"), str(text).strip())
