"""Files of a newer llmcodec say so."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from llmcodec import AudioCodes, LLMCodec, formats
from llmcodec.errors import LLMCodecError
from llmcodec.evaluation import load_episodes, read_labelled
from llmcodec.evaluation.journal import open_journal
from llmcodec.scale import Tokenization


def test_formats():
    assert formats.fault("llmcodec-codes-1", "llmcodec-codes-1") is None
    assert "written by a newer llmcodec" in formats.fault("llmcodec-codes-2", "llmcodec-codes-1")
    for other in ("llmcodec-codes-0", "llmcodec-codes-x", "codes-2", "llmcodec-words-2", None, 2):
        assert "must have the format 'llmcodec-codes-1'" in formats.fault(other, "llmcodec-codes-1")


def newer(read, *arguments):
    with pytest.raises(LLMCodecError, match="written by a newer llmcodec: its format is llmcodec-[a-z]+-9, .*; update"):
        read(*arguments)


def test_codes(tmp_path):
    save_file({"samples": torch.tensor([9])}, tmp_path / "a.safetensors", {"format": "llmcodec-codes-9"})
    newer(AudioCodes.load, tmp_path / "a.safetensors")


def test_codec(tiny_codec, tmp_path):
    tiny_codec.save_checkpoint(tmp_path / "codec")
    file = tmp_path / "codec" / "config.json"
    content = json.loads(file.read_text())
    assert content["format"] == "llmcodec-codec-1"
    file.write_text(json.dumps({**content, "format": "llmcodec-codec-9", "what": "is new"}))
    newer(LLMCodec.from_pretrained, tmp_path / "codec")
    del content["format"]  # as before there was one
    file.write_text(json.dumps(content))
    assert LLMCodec.from_pretrained(tmp_path / "codec").config == tiny_codec.config


def test_episodes(tmp_path):
    (tmp_path / "e.json").write_text('{"format": "llmcodec-episodes-9", "drawn": []}')
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.wav").touch()
    newer(load_episodes, tmp_path / "e.json", read_labelled(tmp_path))


def test_journal(tmp_path):
    (tmp_path / "said.jsonl").write_text('{"format": "llmcodec-journal-9"}\n')
    newer(lambda: open_journal(tmp_path / "said.jsonl", "asked").__enter__())


def test_words(tiny_codec, sound, tmp_path):
    pytest.importorskip("pyarrow")
    from llmcodec import save_audio

    tiny_codec.save_checkpoint(tmp_path / "codec")
    (tmp_path / "clips").mkdir()
    save_audio(tmp_path / "clips" / "a.wav", sound(900))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "_words.json").write_text('{"format": "llmcodec-words-9"}')
    newer(Tokenization(tmp_path / "clips", tmp_path / "out", str(tmp_path / "codec")).begin)
    assert np.array([path.name for path in (tmp_path / "out").iterdir()]) == ["_words.json"]
