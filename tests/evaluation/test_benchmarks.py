"""The benchmark scripts run, and write what they print."""

import importlib
import json
import sys
from pathlib import Path

import pytest
import torch

from llmcodec.errors import ConfigError, ModelError
from llmcodec.llm import FakeLLM

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def checkpoint(codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("codecs") / "tiny"
    codec.save_checkpoint(folder)
    return str(folder)


@pytest.fixture
def run(monkeypatch, capsys, tmp_path, checkpoint):
    monkeypatch.syspath_prepend(str(FOLDER))

    def call(name, *arguments):
        main = importlib.import_module(name).main
        out = tmp_path / "results" / f"{name}.json"
        code = main([*map(str, arguments), "--codec", checkpoint, "--out", str(out)])
        written = json.loads(out.read_text())
        assert {"date", "commit", "seed", "threads", "machine"} <= set(written["provenance"])
        return code, written, capsys.readouterr().out

    yield call
    for name in ("_common", *(file.stem for file in FOLDER.glob("[!_]*.py"))):
        sys.modules.pop(name, None)


def test_fewshot(run, sounds, tmp_path):
    options = ("--data", sounds, "--episodes", 4, "--scorer", "--no-whisper", "--json")
    settings = ("--settings", "2x1", "3x2")
    code, written, printed = run("fewshot", *options, *settings, "--save-episodes", tmp_path / "episodes.json")
    assert code == 0 and json.loads(printed) == written
    first, second = written["reports"]
    assert (second["setup"]["ways"], second["setup"]["shots"]) == (3, 2) and "answers" not in first
    _, again, _ = run("fewshot", *options, "--load-episodes", tmp_path / "episodes.json")
    assert [row["accuracy"] for row in again["reports"][0]["rows"]] == [row["accuracy"] for row in first["rows"]]
    assert first["setup"]["codec"]["name"] == "tiny"
    with pytest.raises(ConfigError, match="must be ways and shots"):
        run("fewshot", *options, "--settings", "two")


def test_tune(run, sounds, monkeypatch):
    pytest.importorskip("peft")
    monkeypatch.syspath_prepend(str(FOLDER))
    script = importlib.import_module("tune")
    lessons = []

    def load(source):
        model = FakeLLM()
        model.name = Path(source).name
        return model

    def tune(model, base, drawn, out, *_):
        lessons.extend(drawn)
        out.mkdir()
        (out / "log.json").write_text('[{"step": 1, "loss": "0.5"}, {"train_runtime": 1}]')

    monkeypatch.setattr(script, "load_llm", load)
    monkeypatch.setattr(script, "tune", tune)
    options = ("--data", sounds, "--test", sounds, "--ways", 2, "--shots", 1, "--steps", 2, "--episodes", 3)
    _, written, printed = run("tune", *options, "--without", "hum")
    assert written["learned"]["labels"] == ["beep", "hiss"] and written["learned"]["clips"] == 8 and len(lessons) == 4
    assert written["losses"] == [[1, 0.5]] and "llm tuned, direct" in printed
    with pytest.raises(ConfigError, match="no clip has another label"):
        run("tune", *options, "--only", "none/")


def test_codebook_use(run, sounds):
    code, written, printed = run("codebook_use", "--data", sounds, sounds)
    assert code == 0 and len(written["rows"]) == 9
    assert written["rows"][-1]["codes"] == 2 * written["rows"][2]["codes"]
    assert printed.startswith("| data | layer |")
    assert run("codebook_use", "--data", sounds, "--min-share", 1.01)[0] == 1


def test_relevance(run, sounds, monkeypatch):
    monkeypatch.setattr("llmcodec.teachers.TextTeacher.__init__", lambda *_: None)
    monkeypatch.setattr("llmcodec.teachers.TextTeacher.embed", lambda _, texts: torch.eye(64)[: len(texts)])
    code, written, printed = run("relevance", "--data", sounds, "--text-model", "stand-in")
    assert code == 0 and [row["method"] for row in written["rows"]] == ["words", "exchanged"]
    assert all(0 <= row["low"] <= row["value"] <= row["high"] <= 1 for row in written["rows"])
    assert printed.startswith("| data | words | relevance |")


def test_relevance_is_the_share_of_labels_that_are_further(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    relevance = importlib.import_module("relevance").relevance
    labels = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    clips = torch.tensor([[0.9, 0.1], [0.5, 0.4], [0.1, 1.0]])
    assert relevance(clips, labels, torch.tensor([0, 1, 2])).tolist() == [1.0, 0.5, 0.0]


def test_speed(run):
    code, written, printed = run("speed", "--seconds", 0.5, "--runs", 2)
    assert code == 0 and [row["step"] for row in written["rows"]] == ["encode", "decode"]
    assert written["rows"][0]["seconds"] == 0.5 and "times real time" in printed
    code, written, _ = run("speed", "--seconds", 0.5, "--runs", 1, "--peers", "encodec")
    assert [row["alone"] for row in written["rows"]] == [True, True, False, False, False, False]
    code, written, _ = run("speed", "--seconds", 120, "--peers", "encodec")
    assert [(row["seconds"], len(row["runs_s"])) for row in written["rows"]] == [(120, 1), (120, 1)]
    with pytest.raises(ConfigError, match="--runs"):
        run("speed", "--runs", 0)


def test_reconstruct(run, sounds):
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    code, written, printed = run("reconstruct", "--data", sounds, "--no-asr")
    measured = {"STOI", "PESQ wb", "PESQ nb", "SI-SDR (dB)", "mel distance (dB)", "STFT distance (dB)"}
    assert code == 0 and measured <= set(written["rows"])
    assert len(written["rows"]) + len(written["missing"]) == 9
    assert written["bits_per_second"] == pytest.approx(5 * written["tokens_per_second"])
    assert "PESQ wb" in printed


def test_reconstruct_with_a_codec_of_transformers(run, sounds, tmp_path):
    pytest.importorskip("pystoi")
    from transformers import EncodecConfig, EncodecModel, LlamaConfig

    EncodecModel(EncodecConfig(num_filters=4, hidden_size=16, codebook_dim=16, num_lstm_layers=1)).save_pretrained(
        tmp_path / "peer"
    )
    _, written, _ = run("reconstruct", "--data", sounds, "--no-asr", "--peer", tmp_path / "peer")
    assert written["tokens_per_second"] == pytest.approx(150, rel=0.1)
    assert written["rows"]["STFT distance (dB)"]["value"] > 0
    LlamaConfig().save_pretrained(tmp_path / "other")
    with pytest.raises(ModelError, match="a model of type llama, not encodec, dac or mimi"):
        run("reconstruct", "--data", sounds, "--no-asr", "--peer", tmp_path / "other")


def test_planning(run, sounds, tmp_path):
    pytest.importorskip("pyarrow")
    with pytest.raises(ConfigError, match="speed.py writes it"):
        run("planning", "--data", sounds, "--results", tmp_path)
    code, written, printed = run("planning", "--data", sounds)
    rows = {row["what"]: row for row in written["rows"]}
    assert code == 0 and written["gpu"] is None and "1000000 hours" in printed
    assert all(0 < row["one_hour"] == pytest.approx(row["1000"] / 1000) for row in rows.values())
    assert rows["words of all layers"]["one_hour"] == pytest.approx((1 + 2 + 4) / 4 / 0.03 * 3600)
    assert rows["bytes of Parquet shards"]["one_hour"] > rows["bytes of the words, packed"]["one_hour"]


def test_engine(run, sounds, monkeypatch):
    monkeypatch.setattr("llmcodec.llm.load_llm", lambda name: FakeLLM())
    options = ("--data", sounds, "--queries", 6, "--anew", 2, "--many", 3, 2, "--scorer", "knn", "channel")
    code, written, printed = run("engine", *options)
    assert code == 0 and [row["scorer"] for row in written["rows"]] == ["knn", "channel"]
    assert all(row["largest_difference"] < 1e-3 and row["once_s"] > 0 for row in written["rows"])
    assert "3-way 2-shot by knn" in printed
