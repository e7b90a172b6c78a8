import json

import pytest

pytest.importorskip("pyarrow")


def test_a_folder_becomes_shards(run, refused, demonstrations, tmp_path):
    result = run("tokenize", demonstrations, tmp_path / "out", "--per-shard", 5, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["clips"] == 12 and found["unread"] == 0
    assert len(list((tmp_path / "out").glob("*.parquet"))) == 3
    again = run("tokenize", demonstrations, tmp_path / "out", "--per-shard", 5)
    assert again.exit_code == 0 and ": 0 clips in" in again.stdout
    refused(run("tokenize", demonstrations, tmp_path / "out"), "other shards")


def test_what_holds_no_clips_is_refused(run, refused, tmp_path):
    refused(run("tokenize", tmp_path / "none", tmp_path / "out"), "no such folder")
    (tmp_path / "empty").mkdir()
    refused(run("tokenize", tmp_path / "empty", tmp_path / "out"), "holds no clips")
    assert not (tmp_path / "out").exists()


def test_a_clip_that_cannot_be_read_is_counted(run, clip, bad_clip, tmp_path):
    if bad_clip.exists():
        result = run("tokenize", tmp_path, tmp_path / "new" / "out")
        assert result.exit_code == 0 and "2 clips in" in result.stdout and "1 could not be read" in result.stdout
