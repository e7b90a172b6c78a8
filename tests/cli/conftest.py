import csv
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from typer.testing import CliRunner

import llmcodec
from llmcodec.cli import app
from llmcodec.llm import FakeLLM

RATE = 16_000
DEMO = Path(llmcodec.__file__).parent / "data" / "demo"


@pytest.fixture(scope="session")
def codec_folder(tiny_codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint") / "codec"
    tiny_codec.save_checkpoint(folder)
    return folder


@pytest.fixture(autouse=True)
def llm(monkeypatch):
    """Every command gets the fake language model."""
    fake = FakeLLM()
    monkeypatch.setattr("llmcodec.llm.load_llm", lambda *_, **__: fake)
    return fake


@pytest.fixture
def run(codec_folder):
    """run(command, ...) -> what the command printed and its exit code; commands with a codec get the tiny one."""

    def invoke(command, *arguments, codec=codec_folder):
        options = ["--codec", str(codec)] if codec and command not in ("models", "train") else []
        return CliRunner().invoke(app, [command, *map(str, arguments), *options])

    return invoke


@pytest.fixture
def refused():
    """refused(result, text): the command printed nothing but one error line with that text, and ended with code 2."""

    def check(result, text):
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        lines = result.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and text in lines[0], result.stderr

    return check


@pytest.fixture
def clip(tmp_path, sound):
    """A WAV file of 1.5 s."""
    path = tmp_path / "clip.wav"
    soundfile.write(path, sound(24_000).numpy(), RATE)
    return path


@pytest.fixture
def demonstrations():
    """Four labels, three clips each."""
    return DEMO / "demonstrations"


@pytest.fixture
def demo_table():
    with open(DEMO / "queries.csv", newline="", encoding="utf-8") as table:
        return {DEMO / row["file"]: row["label"] for row in csv.DictReader(table)}


def wav(samples, rate=RATE, subtype="FLOAT"):
    memory = io.BytesIO()
    soundfile.write(memory, samples, rate, format="WAV", subtype=subtype)
    return memory.getvalue()


def content(kind):
    noise = torch.rand(192_000, generator=torch.Generator().manual_seed(1)).numpy() - 0.5
    return {
        "corrupt": lambda: b"RIFF" + bytes(range(200)),
        "text": lambda: b"file,label\n",
        "empty": lambda: b"",
        "no samples": lambda: wav(np.zeros(0, np.float32)),
        "nan": lambda: wav(np.where(np.arange(9000) == 8000, np.nan, noise[:9000])),
        "one sample": lambda: wav(noise[:1]),
        "silent": lambda: wav(np.zeros(9000, np.float32)),
        "8 channels": lambda: wav(noise[:72_000].reshape(-1, 8)),
        "8 kHz": lambda: wav(noise[:8000], 8000, "PCM_16"),
        "192 kHz": lambda: wav(noise, 192_000, "PCM_24"),
    }[kind]()


@pytest.fixture(params=["one sample", "silent", "8 channels", "8 kHz", "192 kHz"])
def odd_clip(request, tmp_path):
    """Sound that is unusual, but sound."""
    path = tmp_path / f"{request.param}.wav"
    path.write_bytes(content(request.param))
    return path


@pytest.fixture(params=["corrupt", "text", "empty", "no samples", "nan", "missing"])
def bad_clip(request, tmp_path):
    """No sound that could be read."""
    path = tmp_path / f"{request.param}.wav"
    if request.param != "missing":
        path.write_bytes(content(request.param))
    return path
