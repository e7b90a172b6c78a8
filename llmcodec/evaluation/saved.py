"""Datasets of Hugging Face `datasets`, saved to disk, as labelled clips."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from llmcodec.errors import ConfigError, first_line

LABEL_COLUMNS = ("label", "category", "emotion", "class")
GROUP_NAMES = {"src_file": "recording", "speaker_id": "speaker", "actor_id": "speaker", "client_id": "speaker"}


@dataclass(frozen=True)
class SavedClips:
    """Rows as cells of text, with `label`, and the audio file of each.

    folder: where clips are that the dataset holds as bytes; gone with this object.
    """

    rows: list[dict[str, str]]
    files: list[Path]
    folder: TemporaryDirectory[str]


def is_saved(path: Path) -> bool:
    return (path / "dataset_info.json").is_file() and (path / "state.json").is_file()


def read_saved(path: Path) -> SavedClips:
    """What `Dataset.save_to_disk` wrote: one split with a column audio and one of label, category, emotion, class.

    src_file counts as recording, speaker_id, actor_id and client_id as speaker: the columns of ESC-50, Speech Commands,
    CREMA-D and Common Voice as they stand on the hub. Class numbers become their names.

    Raises ConfigError: `datasets` is missing, or a column is.
    """
    try:
        from datasets import Audio, ClassLabel, load_from_disk
    except ImportError as error:
        raise ConfigError(f"{path}: is a saved dataset; pip install 'llmcodec[train]' to read it") from error
    try:
        table = load_from_disk(str(path))
    except Exception as error:  # what datasets and pyarrow raise for a damaged one is of many kinds
        raise ConfigError(f"{path}: no saved dataset that can be read ({first_line(error)})") from error
    columns = list(getattr(table, "column_names", ()))
    label = next((name for name in LABEL_COLUMNS if name in columns), None)
    if "audio" not in columns or label is None:
        raise ConfigError(
            f"{path}: needs one split with a column audio and one of {', '.join(LABEL_COLUMNS)}; its columns are "
            f"{', '.join(map(str, columns)) or 'none'}"
        )
    table = table.cast_column("audio", Audio(decode=False))
    kind = table.features[label]
    folder = TemporaryDirectory(prefix="llmcodec-")
    rows, files = [], []
    for number, row in enumerate(table):
        audio, name = row.pop("audio"), row.pop(label)
        cells = {GROUP_NAMES.get(column, column): "" if value is None else str(value) for column, value in row.items()}
        rows.append({**cells, "label": kind.int2str(name) if isinstance(kind, ClassLabel) else str(name)})
        file = Path(audio["path"] or "clip.wav")
        if audio["bytes"]:
            file = Path(folder.name) / path.resolve().name / f"{number:06}-{file.name}"
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(audio["bytes"])
        files.append(file)
    return SavedClips(rows, files, folder)
