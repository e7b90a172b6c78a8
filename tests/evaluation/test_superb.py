import json
import shutil

import pytest

from llmcodec.errors import ConfigError
from llmcodec.evaluation import draw_episodes, read_labelled


@pytest.fixture
def task(sounds, tmp_path):
    """task(change) -> a task folder of the sounds, after `change` of its metadata."""
    folder = read_labelled(sounds)

    def write(change=lambda content: content):
        content = {
            name: {"instruction": "Which sound is it?", "label": label, "speaker": group, "text": None}
            for name, label, group in zip(folder.names, folder.labels, folder.groups, strict=True)
        }
        for file in folder.files:
            shutil.copy(file, tmp_path)
        (tmp_path / "metadata.json").write_text(json.dumps(change(content)))
        return tmp_path

    return write, folder


def test_a_task_is_read_like_a_table(task):
    write, folder = task
    read = read_labelled(write())
    assert read.labels == folder.labels and read.names == folder.names and read.group_by == "speaker"
    assert draw_episodes(read, 3, 1, 2, 0)
    assert read_labelled(write(), "file").group_by == "file"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda rows: [], "must hold a JSON object"),
        (lambda rows: {}, "must map file names"),
        (lambda rows: rows | {"x.wav": "hum"}, "x.wav: has no label"),
        (lambda rows: rows | {"x.wav": {"label": " "}}, "x.wav: has no label"),
        (lambda rows: rows | {"x.wav": {"label": "yes", "file2": "y.wav"}}, "x.wav: asks about two clips"),
        (lambda rows: rows | {"x.wav": {"label": "hum", "speaker": "a"}}, "x.wav: no such audio file"),
    ],
)
def test_what_is_no_task_is_refused(task, change, reason):
    with pytest.raises(ConfigError, match=reason):
        read_labelled(task[0](change))


def test_no_json_is_refused(task):
    path = task[0]()
    (path / "metadata.json").write_text("{")
    with pytest.raises(ConfigError, match="no valid JSON"):
        read_labelled(path)


def test_a_table_beside_it_comes_first(task, sounds):
    write, folder = task
    path = write(lambda rows: {"other.wav": {"label": "none"}})
    shutil.copy(sounds / "metadata.csv", path)
    assert read_labelled(path).labels == folder.labels
