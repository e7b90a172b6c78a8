import json
import sys
from importlib.util import find_spec

import pytest
import soundfile

from llmcodec.audio import load_audio
from llmcodec.codec import LLMCodec, streaming


def test_a_table_of_words_in_time(run, clip, codec_folder):
    result = run("words", clip)
    assert result.exit_code == 0 and result.stderr == ""
    header, *rows = result.stdout.splitlines()
    assert header.split() == ["seconds", "semantic", "coarse", "fine"] and len(rows) == 13
    codec = LLMCodec.from_pretrained(codec_folder)
    layers = codec.encode(load_audio(clip)).layers
    said = [
        [words[code] for code in layer[0]]
        for words, layer in zip((v.words for v in codec.vocabularies), layers, strict=True)
    ]
    assert rows[2].split() == ["0.24", said[0][2], *said[1][4:6], *said[2][8:12]]
    assert rows[-1].split() == ["1.44", said[0][12], *said[1][24:], *said[2][48:]]


def test_layers_and_json(run, clip):
    result = run("words", clip, "--layer", "semantic", "--layer", "fine", "--json")
    found = json.loads(result.stdout)
    assert found["file"] == str(clip) and found["seconds"] == 1.5
    assert {name: len(layer["words"]) for name, layer in found["layers"].items()} == {"semantic": 13, "fine": 50}
    assert found["layers"]["semantic"]["seconds_per_word"] == pytest.approx(0.12)
    assert run("words", clip, "--layer", "fine").stdout.split()[:2] == ["seconds", "fine"]


def test_codes_say_the_same_as_their_audio(run, clip, tmp_path):
    codes = tmp_path / "clip.safetensors"
    run("encode", clip, "-o", codes)
    assert run("words", codes).stdout == run("words", clip).stdout
    assert run("words", codes, "--seconds", 0.4).stdout == run("words", clip, "--seconds", 0.4).stdout


def test_the_beginning_is_that_of_the_whole(run, sound, tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK_SECONDS", 0.6)
    soundfile.write(tmp_path / "long.wav", sound(80_000).numpy(), 16_000)
    whole = json.loads(run("words", tmp_path / "long.wav", "--json").stdout)
    start = json.loads(run("words", tmp_path / "long.wav", "--seconds", 1, "--json").stdout)
    assert start["seconds"] == 1
    for name, count in {"semantic": 9, "coarse": 17, "fine": 34}.items():
        assert start["layers"][name]["words"] == whole["layers"][name]["words"][:count]


def test_odd_clips_have_words(run, odd_clip):
    assert run("words", odd_clip).exit_code == 0


def test_bad_clips_and_layers_are_named(run, refused, bad_clip, clip):
    refused(run("words", bad_clip), bad_clip.name)
    refused(run("words", clip, "--layer", "loud"), "no layer 'loud'; it has semantic, coarse, fine")


@pytest.mark.skipif(not find_spec("matplotlib"), reason="needs the extra eval")
def test_a_picture_of_audio_and_of_codes(run, refused, clip, sound, tmp_path):
    codes, one, picture = tmp_path / "clip.safetensors", tmp_path / "one.wav", tmp_path / "picture.png"
    run("encode", clip, "-o", codes)
    soundfile.write(one, sound(1).numpy(), 16_000)
    for source in (one, codes, clip):
        result = run("words", source, "--picture", picture, "--force", "--seconds", 0.5)
        assert result.exit_code == 0 and result.stdout.startswith(f"{picture}: the first 0.")
        assert picture.read_bytes().startswith(b"\x89PNG")
    refused(run("words", clip, "--picture", picture), "exists already; --force")
    result = run("words", clip, "--picture", tmp_path / "b.svg", "--json", "--layer", "fine", "--seconds", 0.5)
    assert "fine" in result.stdout
    names = [path.name for path in tmp_path.iterdir()]
    assert sorted(names) == ["b.svg", "clip.safetensors", "clip.wav", "one.wav", "picture.png"]


def test_a_picture_without_matplotlib_names_the_extra(run, refused, clip, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    refused(run("words", clip, "--picture", tmp_path / "a.png"), "pip install 'llmcodec[eval]'")
    refused(run("words", clip, "--picture", tmp_path / "a.doc"), "use .png")
    assert not (tmp_path / "a.png").exists()


def test_a_picture_has_bounds(run, refused, sound, tmp_path):
    soundfile.write(tmp_path / "long.wav", sound(16_000 * 61).numpy(), 16_000)
    refused(run("words", tmp_path / "long.wav", "--picture", tmp_path / "a.png", "--seconds", 61), "up to 60")
