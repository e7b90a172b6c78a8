import re

import pytest

from llmcodec.errors import ConfigError
from llmcodec.evaluation import read_labelled
from llmcodec.evaluation.dataset import audio_files


def write(folder, table, clips=("a.wav", "b.wav", "c.wav", "d.wav"), name="metadata.csv"):
    for clip in clips:
        (folder / clip).write_bytes(b"")
    (folder / name).write_text(table, encoding="utf-8")
    return folder


def test_audiofolder(sounds):
    found = read_labelled(sounds)
    assert found.classes == ("beep", "hiss", "hum") and len(found) == 12
    assert found.group_by == "recording" and len(set(found.groups)) == 6
    assert found.names[5] == "hum-1.wav" and found.files[5].is_file()


def test_csv_and_subfolders_agree(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        for number in range(2):
            (tmp_path / label / f"{number}.WAV").write_bytes(b"")
    (tmp_path / "cat" / "notes.txt").write_text("no clip")
    folders = read_labelled(tmp_path)
    table = "file,label\n" + "".join(f"{name},{name.split('/')[0]}\n" for name in folders.names)
    (tmp_path / "list.csv").write_text(table, encoding="utf-8-sig")
    assert read_labelled(tmp_path / "list.csv") == folders
    assert folders.labels == ("cat", "cat", "dog", "dog") and folders.group_by == "file"
    assert len(set(folders.groups)) == 4


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        ("recording,speaker", ["1,x", "2,y", "3,x", "4,y"], "recording + speaker"),
        ("recording,speaker", ["1,x", "1,y", "3,x", "4,y"], "speaker"),
        ("speaker,voice", ["x,1", "x,2", "x,1", "x,2"], "voice"),
        ("speaker,recording", ["x,", "y,2", "x,3", "y,4"], "speaker"),
        ("speaker,fold", ["x,1", "x,2", "x,1", "x,2"], "file"),
    ],
)
def test_default_groups_are_all_columns_with_several_values_in_every_label(tmp_path, columns, rows, expected):
    lines = [f"{clip}.wav,{label},{row}" for clip, label, row in zip("abcd", "ppqq", rows, strict=True)]
    write(tmp_path, f"file_name,label,{columns}\n" + "\n".join(lines))
    assert read_labelled(tmp_path).group_by == expected
    assert read_labelled(tmp_path, "file").group_by == "file"


def test_clips_that_share_a_recording_or_a_speaker_are_one_group(tmp_path):
    rows = ["a.wav,p,1,x", "b.wav,q,1,y", "c.wav,p,2,y", "d.wav,q,3,z", "e.wav,p,4,z"]
    table = "file_name,label,recording,speaker\n" + "\n".join(rows)
    groups = read_labelled(write(tmp_path, table, [f"{name}.wav" for name in "abcde"])).groups
    assert groups[0] == groups[1] == groups[2] != groups[3] == groups[4]


@pytest.mark.parametrize(
    ("table", "group_by", "message"),
    [
        ("file_name,kind\na.wav,x\n", None, "no column 'label'; its columns are file_name, kind"),
        ("file_name,label\n", None, "has no rows"),
        ("", None, "no column 'file_name'; its columns are none"),
        ("file_name,label\na.wav,x\nz.wav,y\n", None, "line 3: z.wav: no such audio file"),
        ("file_name,label\na.wav,x\nb.wav,\n", None, "line 3: column label is empty"),
        ("file_name,label\na.wav,x\nb.wav\n", None, "line 3: must have 2 cells"),
        ("file_name,label\na.wav,x,y\n", None, "line 2: must have 2 cells"),
        ("file_name,label\na.wav,x\na.wav,y\n", None, "line 3: a.wav stands in line 2 already"),
        ("file_name,label\na.wav,x\nb.wav,x\n", None, "every clip has the label 'x'"),
        ("file_name,label,fold\na.wav,x,1\nb.wav,y,2\n", "actor", "no column 'actor' to group by; allowed: file, fold"),
        ("file_name,label,fold\na.wav,x,1\nb.wav,y,\n", "fold", "line 3: column fold is empty"),
    ],
)
def test_mistakes_name_the_table_and_the_line(tmp_path, table, group_by, message):
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        read_labelled(write(tmp_path, table), group_by)
    assert "metadata.csv" in str(caught.value) and "\n" not in str(caught.value)


def test_no_such_form(tmp_path):
    with pytest.raises(ConfigError, match="neither metadata.csv nor sub-folders"):
        read_labelled(tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        read_labelled(tmp_path / "missing.csv")
    (tmp_path / "cat").mkdir()
    with pytest.raises(ConfigError, match="cat: no audio files"):
        read_labelled(tmp_path)
    with pytest.raises(ConfigError, match="no audio files"):
        audio_files(tmp_path)
    (tmp_path / "metadata.csv").write_bytes(b"file_name,label\n\xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        read_labelled(tmp_path)
