import json
import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
import torch

from llmcodec.audio import load_audio
from llmcodec.codec import LLMCodec
from llmcodec.errors import ConfigError
from llmcodec.scale import Tokenization

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(scope="session")
def codec_folder(tiny_codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codec") / "tiny"
    tiny_codec.save_checkpoint(folder)
    return str(folder)


@pytest.fixture
def clips(tmp_path, sound):
    """Nine clips, one of them longer than what is encoded together, and two that are none."""
    folder = tmp_path / "clips"
    (folder / "deep").mkdir(parents=True)
    for number in range(8):
        soundfile.write(folder / f"{number}.wav", sound(3000 * number + 900, number).numpy(), 16_000)
    soundfile.write(folder / "deep" / "long.flac", sound(16_000 * 61).numpy(), 16_000)
    (folder / "deep" / "broken.wav").write_bytes(b"RIFF no sound")
    soundfile.write(folder / "nan.wav", np.full(800, np.nan, np.float32), 16_000, subtype="FLOAT")
    return folder


def content(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def ignore(done, total):
    pass


def test_rows_are_the_codes_of_each_clip(clips, codec_folder, tmp_path):
    codec = LLMCodec.from_pretrained(codec_folder)  # half precision
    job, steps = Tokenization(clips, tmp_path / "out", codec_folder, per_shard=4), []
    assert job.run(lambda *step: steps.append(step)) == (11, 2) and steps[-1] == (3, 3)
    table = parquet.read_table(tmp_path / "out")
    rows = {row["file"]: row for row in table.to_pylist()}
    assert set(rows) == {path.relative_to(clips).as_posix() for path in clips.rglob("*.*")}
    about = json.loads(table.schema.metadata[b"llmcodec"])
    assert about["format"] == "llmcodec-words-1" and about["sample_rate"] == 16_000
    for name, row in rows.items():
        if name in ("nan.wav", "deep/broken.wav"):
            assert name in row["error"] and str(clips) not in row["error"] and row["semantic"] is None
            continue
        codes = codec.encode(load_audio(clips / name))
        assert row["error"] is None and row["samples"] == int(codes.samples) and len(row["sha256"]) == 64
        for layer, found in zip(codec.layer_names, codes.layers, strict=True):
            assert row[layer] == found[0].tolist() and row[f"{layer}_length"] == found.shape[1]
            assert row[f"{layer}_words"].split() == [about["words"][layer][code] for code in row[layer]]


def test_a_run_goes_on_where_it_was(clips, codec_folder, tmp_path):
    whole = Tokenization(clips, tmp_path / "whole", codec_folder, per_shard=3)
    whole.run(ignore)
    part = Tokenization(clips, tmp_path / "part", codec_folder, per_shard=3)
    assert part.begin() == [0, 1, 2, 3]
    part.write(2)
    again = Tokenization(clips, tmp_path / "part", codec_folder, per_shard=3)
    assert again.begin() == [0, 1, 3]
    assert again.run(ignore)[0] == 8 and again.run(ignore) == (0, 0)
    assert content(tmp_path / "part") == content(tmp_path / "whole")


def test_kills_at_any_time_lose_and_double_nothing(clips, codec_folder, tmp_path):
    command = [sys.executable, "-m", "llmcodec", "tokenize", clips, tmp_path / "killed", "--per-shard", "1"]
    command += ["--codec", codec_folder, "--threads", "1"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    draw, shards = random.Random(0), 0
    for _ in range(3):
        process = subprocess.Popen(list(map(str, command)), env=environment, stdout=subprocess.DEVNULL)
        while process.poll() is None and len(list((tmp_path / "killed").glob("0*.parquet"))) <= shards:
            time.sleep(0.005)
        time.sleep(draw.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        shards = len(list((tmp_path / "killed").glob("0*.parquet")))
        assert 0 < shards <= 11
    subprocess.run(list(map(str, command)), env=environment, check=True)
    Tokenization(clips, tmp_path / "whole", codec_folder, per_shard=1).run(ignore)
    assert content(tmp_path / "killed") == content(tmp_path / "whole")


def test_datasets_and_their_parquet_files_are_read(clips, codec_folder, tmp_path):
    datasets = pytest.importorskip("datasets")
    files = sorted(clips.glob("[0-7].wav"))
    table = datasets.Dataset.from_dict({"audio": [{"bytes": file.read_bytes(), "path": None} for file in files]})
    table.save_to_disk(str(tmp_path / "saved"))
    (tmp_path / "files").mkdir()
    table.to_parquet(str(tmp_path / "files" / "train-00000.parquet"))
    rows = []
    for form in ("saved", "files"):
        assert Tokenization(tmp_path / form, tmp_path / f"{form}-words", codec_folder).run(ignore) == (8, 0)
        rows.append(parquet.read_table(tmp_path / f"{form}-words").to_pylist())
    assert rows[0] == rows[1] and [row["file"] for row in rows[0]] == [str(number) for number in range(8)]


def test_other_work_in_the_same_folder_is_refused(clips, codec_folder, new_codec, tmp_path):
    Tokenization(clips, tmp_path / "out", codec_folder, per_shard=3).run(ignore)
    with pytest.raises(ConfigError, match="other clips, another codec or other shards"):
        Tokenization(clips, tmp_path / "out", codec_folder, per_shard=4).begin()
    new_codec(seed=1).save_checkpoint(tmp_path / "other")
    with pytest.raises(ConfigError, match="another codec"):
        Tokenization(clips, tmp_path / "out", str(tmp_path / "other"), per_shard=3).begin()
    (clips / "0.wav").unlink()
    with pytest.raises(ConfigError, match="other clips"):
        Tokenization(clips, tmp_path / "out", codec_folder, per_shard=3).begin()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("text")
    with pytest.raises(ConfigError, match="is not empty"):
        Tokenization(clips, tmp_path / "mine", codec_folder).begin()
    with pytest.raises(ConfigError, match="0 clips in a shard"):
        Tokenization(clips, tmp_path / "new", codec_folder, per_shard=0).begin()
    assert not (tmp_path / "new").exists()


def test_workers_of_ray_give_the_same_files(clips, codec_folder, tmp_path):
    ray = pytest.importorskip("ray")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        job = Tokenization(clips, tmp_path / "ray", codec_folder, per_shard=3)
        assert job.run(ignore, workers=2) == (11, 2)
    finally:
        ray.shutdown()
    Tokenization(clips, tmp_path / "whole", codec_folder, per_shard=3).run(ignore)
    assert content(tmp_path / "ray") == content(tmp_path / "whole")


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
