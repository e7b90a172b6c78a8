import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from llmcodec.codec import AudioCodes, join_codes
from llmcodec.errors import AudioError

STRIDES = (4, 2, 1)


def codes_of(frames, seed=0):
    generator = torch.Generator().manual_seed(seed)
    layers = tuple(torch.randint(0, 50, (1, -(-frames // stride)), generator=generator) for stride in STRIDES)
    return AudioCodes(layers, torch.tensor([frames * 480 - 7]))


def same(a, b):
    return torch.equal(a.samples, b.samples) and all(map(torch.equal, a.layers, b.layers))


@settings(max_examples=30, derandomize=True)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=5))
def test_clips_joined_to_a_batch_come_out_again(frames):
    clips = [codes_of(count, seed) for seed, count in enumerate(frames)]
    batch = AudioCodes.cat(clips)
    assert len(batch) == len(clips)
    assert [layer.shape[1] for layer in batch.layers] == [-(-max(frames) // stride) for stride in STRIDES]
    assert all(same(batch[number], clip) for number, clip in enumerate(clips))
    assert same(batch[-1], clips[-1])
    assert same(AudioCodes.cat([batch, *clips])[len(clips)], clips[0])


def test_there_are_no_other_clips():
    with pytest.raises(IndexError, match="clip 1 of 1"):
        codes_of(5)[1]
    with pytest.raises(AudioError, match="no clips"):
        AudioCodes.cat([])
    with pytest.raises(AudioError, match="no codes"):
        join_codes([])


def test_pieces_of_a_clip_are_joined_in_time():
    joined = join_codes([codes_of(4, 1), codes_of(8, 2)])
    assert len(joined) == 1 and int(joined.samples) == 12 * 480 - 14
    assert [layer.shape[1] for layer in joined.layers] == [3, 6, 12]


def test_a_file_gives_back_what_was_saved(tmp_path):
    batch = AudioCodes.cat([codes_of(5), codes_of(9, 1)])
    batch.save(tmp_path / "a.safetensors")
    again = AudioCodes.load(tmp_path / "a.safetensors")
    assert same(again, batch) and again.layers[0].dtype == torch.long
    assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]


def test_files_that_hold_no_codes_are_named(tmp_path):
    plain = tmp_path / "plain.safetensors"
    save_file({"x": torch.zeros(3)}, plain)
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    codes_of(5).save(tmp_path / "whole.safetensors")
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-9])
    marked = {"format": "llmcodec-codes-1"}
    save_file({"other": torch.zeros(3)}, tmp_path / "names.safetensors", metadata=marked)
    for name in ("plain", "noise", "cut", "names", "missing"):
        path = tmp_path / f"{name}.safetensors"
        with pytest.raises(AudioError, match=f"{name}.safetensors: not a file of llmcodec codes"):
            AudioCodes.load(path)


def test_a_folder_that_is_not_there_is_an_error_and_nothing_is_left(tmp_path, monkeypatch):
    with pytest.raises(AudioError, match="cannot be written: No such file"):
        codes_of(5).save(tmp_path / "none" / "a.safetensors")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("llmcodec.temporary.os.replace", full)
    with pytest.raises(AudioError, match="cannot be written: No space left"):
        codes_of(5).save(tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())
