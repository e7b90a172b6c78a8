"""Damage that was not refused as it should be, until it was found."""

import io
import json
import os

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file

from llmcodec import AudioCodes, LLMCodec, load_audio, load_template, save_audio
from llmcodec.audio import AudioWriter, decode_audio, stream_audio
from llmcodec.codec import CodecConfig, LayerConfig, join_codes
from llmcodec.codec.config import backbone_config
from llmcodec.errors import AudioError, ConfigError, LLMCodecError, ModelError
from llmcodec.evaluation import read_labelled
from llmcodec.evaluation.journal import open_journal
from llmcodec.evaluation.saved import read_saved
from llmcodec.training.sources import open_source


@pytest.fixture
def checkpoint(tiny_codec, tmp_path):
    tiny_codec.save_checkpoint(tmp_path / "codec")
    return tmp_path / "codec"


def change(checkpoint, **fields):
    file = checkpoint / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_what_a_file_says_cannot_steer_a_terminal_or_break_a_line():
    assert str(LLMCodecError("a\nb\x1b[2Jc\u202ed\u2028e\0f")) == "a b [2Jc d e f"


@pytest.mark.parametrize(
    "tensors",
    [
        {"layer.0": torch.zeros(1, 3), "samples": torch.tensor([9])},
        {"layer.0": torch.zeros(1, 3, dtype=torch.long), "samples": torch.tensor(9)},
        {"layer.0": torch.zeros(2, 3, dtype=torch.long), "samples": torch.tensor([9])},
        {"layer.0": torch.zeros(3, dtype=torch.long), "samples": torch.tensor([9])},
    ],
)
def test_codes_of_another_kind_or_shape(tmp_path, tensors):
    save_file(tensors, tmp_path / "a.safetensors", {"format": "llmcodec-codes-1"})
    with pytest.raises(AudioError, match="a.safetensors: not a file of llmcodec codes: it holds a tensor"):
        AudioCodes.load(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"latent_dim": 60_000}, "describes more weights than there are"),
        ({"latent_dim": "wide"}, "CodecConfig field latent_dim: Input should be a valid integer"),
        ({"sample_rate": 0}, "CodecConfig field sample_rate"),
        ({"layers": []}, "CodecConfig field layers"),
        ({"backbone": {"kind": "spectral", "encoder_depth": 10**9}}, "SpectralConfig field encoder_depth"),
        ({"backbone": {"kind": "spectral", "kernel": 4}}, "needs an odd kernel"),
        ({"layers": [{"name": "../words", "stride": 1, "lookup_dim": 4}]}, "LayerConfig field name"),
        ({"format": "another-1"}, "must have the format"),
    ],
)
def test_a_config_that_asks_for_the_impossible(checkpoint, fields, reason):
    change(checkpoint, **fields)
    with pytest.raises(ModelError, match=reason):
        LLMCodec.from_pretrained(checkpoint)


def test_strides_that_would_make_a_short_clip_long():
    layers = tuple(LayerConfig(f"l{stride}", stride, 4) for stride in (61, 67, 71))
    with pytest.raises(ModelError, match="meet every"):
        CodecConfig(layers=layers)
    with pytest.raises(ModelError, match="strides"):
        backbone_config({"kind": "conv", "strides": [0]})


def test_weights_that_are_no_numbers(checkpoint):
    state = load_file(checkpoint / "model.safetensors")
    state["decoder.embed.bias"][0] = torch.nan
    save_file(state, checkpoint / "model.safetensors")
    with pytest.raises(ModelError, match="decoder.embed.bias are no finite numbers"):
        LLMCodec.from_pretrained(checkpoint)


def test_a_checkpoint_replaces_no_folder_of_other_things(checkpoint, tiny_codec):
    (checkpoint / "thesis.txt").write_text("text")
    with pytest.raises(ModelError, match="holds thesis.txt, which is no part of a codec"):
        tiny_codec.save_checkpoint(checkpoint)
    assert (checkpoint / "thesis.txt").exists()


def test_a_header_that_lies_about_length_and_channels_takes_no_memory(tmp_path):
    memory = io.BytesIO()
    soundfile.write(memory, np.zeros((64, 8), np.float32), 44_100, format="FLAC")
    content = bytearray(memory.getvalue())
    content[21:26] = bytes([content[21] | 0x0F, 255, 255, 255, 255])  # 2 ** 36 - 1 samples a channel
    (tmp_path / "long.flac").write_bytes(content)
    for read in (lambda: load_audio(tmp_path / "long.flac"), lambda: decode_audio(bytes(content), "long.flac")):
        try:
            assert len(read()) < 100
        except AudioError as error:
            assert "long.flac" in str(error)


def test_many_channels_are_read_in_small_blocks(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "wide.wav", np.zeros((400, 1000), np.float32), 16_000)
    monkeypatch.setattr("llmcodec.audio.MAX_BLOCK", 4000)
    assert [len(piece) for piece in stream_audio(tmp_path / "wide.wav")] == [4] * 100


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "nul\0.wav"])
def test_names_that_no_file_can_have(tmp_path, name):
    with pytest.raises(AudioError):
        load_audio(tmp_path / name)
    with pytest.raises(AudioError):
        save_audio(tmp_path / name, torch.zeros(9))
    with pytest.raises(AudioError):
        AudioCodes((torch.zeros(1, 1),), torch.tensor([9])).save(tmp_path / name)
    (tmp_path / "table.csv").write_text(f"file,label\n{name},a\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="table.csv"):
        read_labelled(tmp_path / "table.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["table.csv"]


def test_a_disk_that_takes_less_than_it_is_given(tmp_path, monkeypatch):
    def short(*_):
        raise AssertionError  # as soundfile says it

    with pytest.raises(AudioError, match="a.wav: cannot be written"), AudioWriter(tmp_path / "a.wav", 16_000) as writer:
        monkeypatch.setattr("soundfile.SoundFile.write", short)
        writer.write(torch.zeros(9))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("clips", "reason"),
    [([1, 2], "codes of 1 and 2 layers cannot be joined"), ([0, 0], "codes of 0 layers cannot be joined")],
)
def test_codes_of_other_layers_are_not_joined(clips, reason):
    row = torch.zeros(1, 3, dtype=torch.long)
    codes = [AudioCodes((row,) * count, torch.tensor([9])) for count in clips]
    for join in (AudioCodes.cat, join_codes):
        with pytest.raises(AudioError, match=reason):
            join(codes)


def test_half_a_sign_in_a_template(tmp_path):
    (tmp_path / "task.yaml").write_text('name: x\ndescription: "\\ud83c"\n')
    with pytest.raises(ConfigError, match="task.yaml: line 2: .* half a sign"):
        load_template(tmp_path / "task.yaml")


@pytest.mark.parametrize("text", ["name: 2001-99-99", "name: " + "[" * 1200, "name: !!float no", "a\0b"])
def test_text_that_is_nearly_yaml(tmp_path, text):
    (tmp_path / "task.yaml").write_text(text)
    with pytest.raises(ConfigError, match="task.yaml: .*no valid YAML") as caught:
        load_template(tmp_path / "task.yaml")
    assert len(str(caught.value).splitlines()) == 1


def test_a_table_to_train_on_that_is_no_text(tmp_path):
    (tmp_path / "metadata.csv").write_bytes(b"file_name\n\xff.wav\n")
    with pytest.raises(ConfigError, match="metadata.csv: byte 10 is not UTF-8 text"):
        open_source(tmp_path)


def test_names_that_are_no_text(tmp_path):
    (tmp_path / "label").mkdir()
    try:
        save_audio(tmp_path / "label" / os.fsdecode(b"\xff.wav"), torch.zeros(9))
    except AudioError:
        pytest.skip("the file system has no such names")
    for read in (read_labelled, open_source):
        with pytest.raises(ConfigError, match=r"the name label/\\udcff.wav is not UTF-8 text"):
            read(tmp_path)


def test_json_without_end(tmp_path):
    (tmp_path / "metadata.json").write_text('{"a":' * 100_000)
    with pytest.raises(ConfigError, match="metadata.json: no valid JSON"):
        read_labelled(tmp_path)


def test_a_saved_dataset_that_is_damaged(tmp_path):
    pytest.importorskip("datasets")
    for name in ("dataset_info.json", "state.json"):
        (tmp_path / name).write_text("{")
    with pytest.raises(ConfigError, match="no saved dataset that can be read"):
        read_saved(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(ConfigError, match="no dataset that can be read"):
        open_source(tmp_path / "files")


def journal_of(path, lines=2):
    with open_journal(path, "asked") as journal:
        ask = journal.kept("knn", lambda episode: np.array([[0.5, 0.5]]))
        for _ in range(lines):
            ask(None)


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: [lines[0], b"{}", *lines[1:]],
        lambda lines: [lines[0], b"\xff\xfe", *lines[1:]],
        lambda lines: [lines[0], lines[1].replace(b"[[", b"[{"), *lines[2:]],
    ],
)
def test_a_journal_with_a_damaged_line(tmp_path, damage):
    path = tmp_path / "said.jsonl"
    journal_of(path)
    path.write_bytes(b"\n".join(damage(path.read_bytes().split(b"\n"))))
    with pytest.raises(ConfigError, match="said.jsonl: line 2: is damaged"):
        journal_of(path)


@pytest.mark.parametrize("kept", [0, 10, 50])
def test_a_journal_that_a_stop_cut_goes_on(tmp_path, kept):
    path = tmp_path / "said.jsonl"
    journal_of(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    journal_of(path)
    assert path.read_bytes() == whole


def test_a_journal_with_scores_of_another_shape(tmp_path, monkeypatch):
    path = tmp_path / "said.jsonl"
    journal_of(path)
    path.write_bytes(path.read_bytes().replace(b"[[0.5, 0.5]]", b"[[0.5]]"))
    episode = type("Episode", (), {"queries": (1,), "labels": ("a", "b")})
    with open_journal(path, "asked") as journal, pytest.raises(ConfigError, match="episode 0 of knn: is damaged"):
        journal.kept("knn", lambda episode: None)(episode)


def test_a_usage_error_is_one_line():
    from typer.testing import CliRunner

    from llmcodec.cli import app

    for arguments in (["classify"], ["words", "a.wav", "--seconds", "x"], ["no-such-command"], ["encode", "--no-such"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2 and len(result.stderr.splitlines()) == 1, result.stderr
        assert result.stderr.startswith("error: ")
