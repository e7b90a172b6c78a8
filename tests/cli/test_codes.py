import json

import pytest
import soundfile
import torch

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec


@pytest.fixture
def codec(codec_folder):
    return LLMCodec.from_pretrained(codec_folder)


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_file_becomes_codes_and_sound_again(run, clip, codec, tmp_path):
    out, back = tmp_path / "clip.safetensors", tmp_path / "back.wav"
    result = run("encode", clip, "-o", out, "--threads", 1)
    assert result.exit_code == 0 and result.stdout == f"{out}: 1.50 s, 88 words\n" and result.stderr == ""
    codes = AudioCodes.load(out)
    assert all(map(torch.equal, codes.layers, codec.encode(load_audio(clip)).layers))

    result = run("decode", out, "--out", back)
    assert result.exit_code == 0 and result.stdout == f"{back}: 1.50 s\n"
    decoded = codec.decode(codes)[0]
    assert torch.allclose(load_audio(back), decoded.clamp(-1, 1), atol=1e-4) and len(decoded) == 24_000
    assert names(tmp_path) == ["back.wav", "clip.safetensors", "clip.wav"]


def test_json_says_what_was_made(run, clip, tmp_path):
    out, back = tmp_path / "clip.safetensors", tmp_path / "back.flac"
    assert json.loads(run("encode", clip, "-o", out, "--json").stdout) == {
        "file": str(clip), "codes": str(out), "seconds": 1.5, "words": {"semantic": 13, "coarse": 25, "fine": 50},
    }  # fmt: skip
    made = json.loads(run("decode", out, "-o", back, "--json").stdout)
    assert made == {"file": str(back), "seconds": 1.5, "sample_rate": 16_000}


def test_folders_and_several_files_become_a_folder(run, clip, sound, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/a.wav", "in/deep/b.flac"):
        soundfile.write(tmp_path / name, sound(5000).numpy(), 16_000)
    (tmp_path / "in" / "notes.txt").write_text("no sound")
    result = run("encode", tmp_path / "in", clip, "-o", tmp_path / "out" / "here", "--json")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 3
    assert names(tmp_path / "out") == ["here/a.safetensors", "here/clip.safetensors", "here/deep/b.safetensors"]


def test_what_exists_is_replaced_only_by_force(run, refused, clip, tmp_path):
    out, back = tmp_path / "clip.safetensors", tmp_path / "back.wav"
    out.write_text("mine")
    refused(run("encode", clip, "-o", out), f"{out}: exists already; --force")
    refused(run("encode", clip, "-o", tmp_path), f"{out}: exists already; --force")
    assert out.read_text() == "mine"
    assert run("encode", clip, "-o", out, "--force").exit_code == 0
    back.write_text("mine")
    refused(run("decode", out, "-o", back), f"{back}: exists already; --force")
    assert back.read_text() == "mine"
    assert run("decode", out, "-o", back, "--force").exit_code == 0


def test_odd_clips_are_encoded_and_decoded_to_their_length(run, odd_clip, tmp_path):
    codes, back = tmp_path / "odd.safetensors", tmp_path / "back.wav"
    assert run("encode", odd_clip, "-o", codes).exit_code == 0
    assert run("decode", codes, "-o", back).exit_code == 0
    assert len(load_audio(back)) == len(load_audio(odd_clip))


def test_a_bad_clip_is_named_and_nothing_is_written(run, refused, bad_clip, tmp_path):
    before = names(tmp_path)
    refused(run("encode", bad_clip, "-o", tmp_path / "bad.safetensors"), bad_clip.name)
    refused(run("encode", bad_clip, "-o", tmp_path / "out"), bad_clip.name)
    assert names(tmp_path) == before and not (tmp_path / "out").exists()


def test_a_bad_clip_among_others_does_not_stop_them(run, clip, bad_clip, demonstrations, tmp_path):
    result = run("encode", bad_clip, clip, demonstrations / "bass" / "bass1.flac", "-o", tmp_path / "out")
    assert result.exit_code == 2 and len(result.stdout.splitlines()) == 2
    assert result.stderr.startswith("error: ") and bad_clip.name in result.stderr and result.stderr.count("\n") == 1
    assert names(tmp_path / "out") == ["bass1.safetensors", "clip.safetensors"]


def test_outputs_that_cannot_be_are_refused(run, refused, clip, sound, tmp_path):
    (tmp_path / "other").mkdir()
    soundfile.write(tmp_path / "other" / "clip.flac", sound(500).numpy(), 16_000)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    one = tmp_path / "one.safetensors"
    refused(run("encode", clip, tmp_path / "other", "-o", tmp_path / "out"), "would both become")
    refused(run("encode", clip, clip, "-o", one), "is one file; several inputs")
    refused(run("encode", tmp_path / "other", "-o", one), "is one file; several inputs")
    refused(run("encode", tmp_path / "empty", "-o", tmp_path / "out"), "empty: no audio files")
    refused(run("encode", clip, "-o", tmp_path / "file"), "is no folder")
    refused(run("encode", clip, "-o", tmp_path / "file" / "below"), "file/below: Not a directory")
    refused(run("encode", clip, "-o", tmp_path / "none" / "one.safetensors"), "none does not exist")
    assert not one.exists() and not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(run, refused, clip, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    refused(
        run("encode", clip, "-o", tmp_path / "clip.safetensors"), "clip.safetensors: cannot be written: No space left"
    )
    assert names(tmp_path) == ["clip.wav"]


def test_codes_that_cannot_be_decoded_are_refused(run, refused, clip, tmp_path):
    good = tmp_path / "good.safetensors"
    run("encode", clip, "-o", good)
    codes = AudioCodes.load(good)
    AudioCodes.cat([codes, codes]).save(tmp_path / "two.safetensors")
    AudioCodes(tuple(layer + 70 for layer in codes.layers), codes.samples).save(tmp_path / "other.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(good.read_bytes()[:-50])
    (tmp_path / "empty.safetensors").write_bytes(b"")
    before = names(tmp_path)
    for name, reason in {
        "two": "codes of 2 clips", "other": "code outside 0 to 39", "cut": "not a file of llmcodec codes",
        "empty": "not a file of llmcodec codes", "missing": "not a file of llmcodec codes",
    }.items():  # fmt: skip
        path = tmp_path / f"{name}.safetensors"
        refused(run("decode", path, "-o", tmp_path / "back.wav"), f"{path}: ")
        refused(run("decode", path, "-o", tmp_path / "back.wav"), reason)
    refused(run("decode", clip, "-o", tmp_path / "back.wav"), "decode takes a .safetensors file")
    refused(run("decode", good, "-o", tmp_path / "back.mp3"), "use .wav or .flac")
    refused(run("decode", good, "-o", tmp_path), "is a folder")
    assert names(tmp_path) == before
