import pytest
import soundfile

from llmcodec.errors import ConfigError
from llmcodec.evaluation import draw_episodes, evaluate_fewshot, read_labelled

datasets = pytest.importorskip("datasets")


@pytest.fixture
def saved(sounds, tmp_path):
    """saved(**columns) -> a saved dataset of the sounds with these columns beside the audio."""
    folder = read_labelled(sounds)

    def save(features=None, **columns):
        rows = {"audio": [{"bytes": file.read_bytes(), "path": file.name} for file in folder.files], **columns}
        table = datasets.Dataset.from_dict(rows)
        for name, kind in (features or {}).items():
            table = table.cast_column(name, kind)
        table.save_to_disk(str(tmp_path / "named"))
        return tmp_path / "named"

    return save, folder


def test_columns_as_on_the_hub(saved, codec):
    save, folder = saved
    numbers = [folder.classes.index(label) for label in folder.labels]
    path = save(
        {"label": datasets.ClassLabel(names=list(folder.classes))}, label=numbers, speaker_id=list(folder.groups)
    )
    read = read_labelled(path)
    assert read.labels == folder.labels and read.group_by == "speaker" and read.root.name == "named"
    for one, other in zip(read.files, folder.files, strict=True):
        assert (soundfile.read(one)[0] == soundfile.read(other)[0]).all()
    episodes = draw_episodes(read, 2, 1, 4, 0)
    report = evaluate_fewshot(read, codec, scorers=(), episodes=episodes, whisper=None)
    assert report.setup["data"] == "named"
    assert all(answer.label in folder.classes for answer in report.answers)


def test_text_labels_and_recordings(saved):
    save, folder = saved
    read = read_labelled(save(category=list(folder.labels), src_file=[int(group) for group in folder.groups]))
    assert read.labels == folder.labels and read.group_by == "recording"
    assert len(set(read.groups)) == len(set(folder.groups))


def test_a_missing_column_is_named(saved):
    save, _ = saved
    with pytest.raises(ConfigError, match="label, category, emotion, class; its columns are audio"):
        read_labelled(save())
