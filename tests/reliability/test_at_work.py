"""Locks, and files that are made whole or not at all."""

import os
import subprocess
import sys

import pytest

from llmcodec import temporary
from llmcodec.errors import ConfigError
from llmcodec.locks import sole_use
from llmcodec.scale import Tokenization
from llmcodec.temporary import atomic_output, beside

pytest.importorskip("fcntl")


@pytest.fixture(params=["folder", "file"])
def place(request, tmp_path):
    path = tmp_path / "place"
    path.mkdir() if request.param == "folder" else path.touch()
    return path


def test_one_at_a_time(place):
    with sole_use(place), pytest.raises(ConfigError, match="place: another process is at work"), sole_use(place):
        pass
    with sole_use(place), pytest.raises(KeyError), sole_use(place.parent):
        raise KeyError
    with sole_use(place):
        pass
    assert [path.name for path in place.parent.iterdir()] == ["place"]


def test_a_lock_ends_with_its_process(place):
    code = "import sys, os, signal; from pathlib import Path; from llmcodec.locks import sole_use\n"
    code += "with sole_use(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code, str(place)], env=environment).returncode == -9
    with sole_use(place):
        pass


def test_words_of_a_folder_are_made_by_one(tiny_codec, sound, tmp_path):
    pytest.importorskip("pyarrow")
    from llmcodec import save_audio

    tiny_codec.save_checkpoint(tmp_path / "codec")
    (tmp_path / "clips").mkdir()
    save_audio(tmp_path / "clips" / "a.wav", sound(900))
    job = Tokenization(tmp_path / "clips", tmp_path / "out", str(tmp_path / "codec"))
    job.begin()
    with sole_use(tmp_path / "out"), pytest.raises(ConfigError, match="out: another process is at work there"):
        job.run(lambda *_: None)
    assert job.run(lambda *_: None) == (1, 0)


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyError), atomic_output(tmp_path / "a.txt") as made:
        made.write_text("half")
        raise KeyError
    assert not list(tmp_path.iterdir())
    with atomic_output(tmp_path / "a.txt") as made:
        made.write_text("whole")
        assert made.suffix == ".txt" and made.name.startswith(".")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["whole"]
    with pytest.raises(OSError), atomic_output(tmp_path / "a.txt" / "b.txt") as made:
        made.write_text("no folder")


def test_what_kills_left_is_swept_when_it_is_old(tmp_path):
    old, new, other = beside(tmp_path / "a.wav"), beside(tmp_path / "b.wav"), tmp_path / ".mine"
    folder = beside(tmp_path / "codec")
    folder.mkdir()
    for path in (old, new, other):
        path.write_text("x")
    for path in (old, other, folder):
        os.utime(path, (0, 0))
    temporary._sweep.cache_clear()
    beside(tmp_path / "c.wav")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([new.name, ".mine"])
