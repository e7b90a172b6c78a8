"""The same clips from a folder, from tar shards and from a saved dataset."""

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
import torch

from llmcodec.errors import AudioError, ConfigError
from llmcodec.training.sources import Clip, open_source

CLIPS = {"a": (8000, "speech", "one two"), "b": (16_000, "sound", "the sound of rain"), "c": (5000, "sound", "")}


def audio(name, rate=16_000):
    samples = np.random.default_rng(ord(name)).uniform(-0.5, 0.5, CLIPS[name][0]).astype(np.float32)
    content = io.BytesIO()
    soundfile.write(content, samples, rate, format="FLAC", subtype="PCM_24")
    return content.getvalue()


def make_folder(root):
    lines = ["file_name,kind,text"]
    for name, (_, kind, text) in CLIPS.items():
        (root / f"{name}.flac").write_bytes(audio(name))
        lines.append(f"{name}.flac,{kind},{text}")
    (root / "metadata.csv").write_text("\n".join(lines))


def make_shards(root):
    for shard, names in (("0.tar", "ab"), ("1.tar", "c")):
        with tarfile.open(root / shard, "w") as archive:
            for name in names:
                told = json.dumps({"kind": CLIPS[name][1], "text": CLIPS[name][2]}).encode()
                for suffix, content in (("flac", audio(name)), ("json", told)):
                    entry = tarfile.TarInfo(f"{name}.{suffix}")
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))


def make_dataset(root):
    datasets = pytest.importorskip("datasets")
    rows = {
        "audio": [{"bytes": audio(name), "path": f"{name}.flac"} for name in CLIPS],
        "kind": [kind for _, kind, _ in CLIPS.values()],
        "transcription": [text for _, _, text in CLIPS.values()],
    }
    datasets.Dataset.from_dict(rows).save_to_disk(str(root))


@pytest.mark.parametrize("make", [make_folder, make_shards, make_dataset])
def test_each_kind_gives_the_same_clips_in_any_order(make, tmp_path):
    make(tmp_path)
    source = open_source(tmp_path)
    for clip, (name, (length, kind, text)) in reversed(list(zip(source.clips, CLIPS.items(), strict=True))):
        assert (clip.kind, clip.text) == (kind, text)
        wave = source.read(clip)
        wanted, _ = soundfile.read(io.BytesIO(audio(name)), dtype="float32")
        assert wave.shape == (length,) and torch.equal(wave, torch.from_numpy(wanted))
        assert source.stamp(clip)


@pytest.mark.parametrize("make", [make_folder, make_shards])
def test_patterns_leave_clips_out_by_name(make, tmp_path):
    make(tmp_path)
    assert [clip.text for clip in open_source(tmp_path, ["*a.flac", "*c.flac"]).clips] == ["the sound of rain"]
    with pytest.raises(ConfigError, match="every clip is excluded"):
        open_source(tmp_path, ["*"])


def test_a_shard_may_tell_the_text_in_a_file_and_hold_what_is_no_audio(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for name, content in (("deep/er.txt", b" hi "), ("deep/er.wav", b"no audio")):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    source = open_source(tmp_path)
    assert source.clips == [Clip("x.tar/deep/er.wav", "audio", "hi")]
    with pytest.raises(AudioError, match="x.tar/deep/er.wav: no audio file"):
        source.read(source.clips[0])


def test_a_damaged_shard_is_named(tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"x" * 2000)
    with pytest.raises(ConfigError, match="bad.tar: not a tar file"):
        open_source(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"), [("", "column 'file_name'"), ("file,text\na.wav,b\n", "column 'file_name'")]
)
def test_a_table_with_a_mistake_is_named(tmp_path, text, reason):
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(ConfigError, match=f"metadata.csv: .*{reason}"):
        open_source(tmp_path)


def test_kind_and_text_may_be_absent(tmp_path):
    (tmp_path / "metadata.csv").write_text("file_name\na.wav\n")
    assert open_source(tmp_path).clips == [Clip("a.wav", "audio", "")]
