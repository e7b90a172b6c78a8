"""The benchmark scripts run, and write what they print."""

import importlib
import json
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from llmcodec.audio import save_audio
from llmcodec.errors import ConfigError, ModelError
from llmcodec.evaluation import read_labelled
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
    for script in FOLDER.glob("*.py"):
        sys.modules.pop(script.stem, None)


@pytest.fixture
def judge(monkeypatch):
    """In place of Whisper and DNSMOS: hears what it is told to."""

    class Judge:
        sample_rate = 16_000
        heard: list[str] = []

        def __init__(self, name):
            pass

        def choose(self, waves, texts):
            self.heard.append(texts[len(self.heard) % len(texts)])
            return [self.heard[-1]], [f" {self.heard[-1]}!"]

        def transcribe(self, waves, fallback=True):
            return ["one two"] * len(waves)

    monkeypatch.setattr("llmcodec.evaluation.recognition.WhisperJudge", Judge)
    monkeypatch.setattr("llmcodec.evaluation.metrics.dnsmos", lambda wave, rate: 2.5)
    monkeypatch.setattr("llmcodec.evaluation.metrics.speaker_similarity", lambda own, wave: 0.5)
    monkeypatch.setattr("llmcodec.llm.load_llm", lambda name: FakeLLM(max_context=1 << 14))
    return Judge


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

    monkeypatch.setattr(script, "load_transformers", load)
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


@pytest.mark.parametrize("several", [(), ("--candidates", 2, "--rerank", "heard")])
def test_speak(run, sounds, judge, tmp_path, several):
    pytest.importorskip("matplotlib")
    page = tmp_path / "page.html"
    options = ("--data", sounds, "--generations", 6, "--judged", 3, "--shots", 2, "--page", page)
    code, written, printed = run("speak", *options, *several)
    assert (written["candidates"], written["temperature"]) == ((2, 0.8) if several else (1, 0.0))
    rows = {row["what"]: row for row in written["rows"]}
    assert code == 0 and list(rows) == ["generated", "blind choice", "other recordings", "their codec round trip"]
    assert rows["generated"]["restricted"]["n"] == 6 and rows["blind choice"]["restricted"]["n"] == 3
    assert rows["generated"]["restricted"]["accuracy"] == 1  # heard in the order in which they were made
    assert rows["generated"]["free"]["accuracy"] == 1 and rows["generated"]["wer"]["value"] == 0
    copies = written["copies"]
    assert copies["n"] == 6 and 0 <= copies["exact"] <= copies["nearly"] <= 6
    assert [row["level"] for row in written["questions"]] == [1, 2, 3]
    assert all(row["answer"]["accuracy"] == 0 for row in written["questions"])  # no sound is the answer
    assert {"anew", "another query", "again"} == set(written["reuse"])
    assert "copies" in printed and page.read_text().count("<audio") == 12
    with pytest.raises(ConfigError, match="needs more than 4 clips"):
        run("speak", "--data", sounds, "--shots", 4)


def test_copies_are_counted_place_by_place(monkeypatch, tiny_codec, sound):
    monkeypatch.syspath_prepend(str(FOLDER))
    share = importlib.import_module("speak").share
    codes = tiny_codec.encode([sound(9600), sound(9600, seed=1), sound(4800)])
    assert share(codes[0], codes[0]) == 1
    assert share(codes[0], codes[1]) == share(codes[1], codes[0]) < 1
    assert share(codes[0], codes[2]) <= 0.5


@pytest.fixture
def corpora(tmp_path, sound):
    """Speech of two speakers, four clips, and four noises."""
    speech, noise = tmp_path / "speech", tmp_path / "noise"
    for folder in (speech, noise):
        folder.mkdir()
    for n in range(4):
        save_audio(speech / f"{n}.wav", sound(16_000, seed=n))
        save_audio(noise / f"{n}.wav", 0.1 * torch.randn(9000, generator=torch.Generator().manual_seed(n)))
    told = "".join(f"{n}.wav,{'ab'[n % 2]}\n" for n in range(4))
    (speech / "metadata.csv").write_text(f"file_name,speaker\n{told}")
    (noise / "metadata.csv").write_text("file_name\n" + "".join(f"{n}.wav\n" for n in range(4)))
    return speech, noise


def test_enhance(run, corpora, judge):
    pytest.importorskip("pystoi")
    pytest.importorskip("pesq")
    speech, noise = corpora
    options = ("--speech", speech, "--noise", noise, "--clips", 2, "--pairs", 2)
    code, written, printed = run("enhance", *options, "--snr", 0, "--llm", "fake")
    rows = {row["variant"]: row for row in written["rows"]}
    assert code == 0 and rows["noisy"]["measures"]["SI-SDR"]["value"] == pytest.approx(0, abs=0.3)
    assert all(gain["value"] == 0 for gain in rows["noisy"]["gains"].values())
    assert all(row["measures"]["WER"]["value"] == 0 for row in written["rows"])
    assert {"codec only", "spectral subtraction", "enhance", "clean words by the LLM"} <= set(rows)
    assert "| 0 | enhance |" in printed
    (speech / "metadata.csv").write_text("file_name,speaker\n0.wav,a\n")
    with pytest.raises(ConfigError, match="two speakers or more"):
        run("enhance", *options)


def test_text_to_audio(run, sounds, judge, monkeypatch):
    monkeypatch.setattr("llmcodec.teachers.AudioTeacher.__init__", lambda *_: None)
    monkeypatch.setattr(
        "llmcodec.teachers.AudioTeacher.features",
        lambda _, waves: [torch.stft(waves[0], 64, window=torch.ones(64), return_complex=True).abs().T],
    )
    options = ("--data", sounds, "--shots", 1, "--each", 2, "--seconds", 0.3, "--whisper", "stand-in")
    code, written, printed = run("text_to_audio", *options)
    assert code == 0 and written["clips"] == 6
    assert [row["what"] for row in written["rows"]] == ["generated", "codec resynthesis", "generated, labels shuffled"]
    assert all(row["FAD"] >= 0 and row["low"] <= row["KL"] <= row["high"] for row in written["rows"])
    assert printed.startswith("| what | FAD | KL |")


def test_frechet_distance_is_that_of_normal_distributions(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    frechet = importlib.import_module("text_to_audio").frechet
    rows = np.random.default_rng(0).normal(size=(4000, 3))
    assert frechet(rows, rows) == pytest.approx(0, abs=1e-6)
    assert frechet(rows, rows + [2.0, 0.0, 0.0]) == pytest.approx(4, rel=1e-3)
    assert frechet(rows, 3 * rows) == pytest.approx(3 * (3 - 1) ** 2, rel=0.1)


def test_synthetic_digits(run, tmp_path, monkeypatch):
    class Kokoro:
        def __init__(self, model, voices):
            assert model.endswith("a.onnx") and voices.endswith("voices.bin")

        def get_voices(self):
            return ["one"]

        def create(self, text, voice, speed):
            quiet = np.zeros(4800, np.float32)
            return np.concatenate([quiet, np.full(round(7200 / speed), 0.5, np.float32), quiet]), 24_000

    monkeypatch.setitem(sys.modules, "kokoro_onnx", types.SimpleNamespace(Kokoro=Kokoro))
    main = importlib.import_module("synthetic_digits").main
    options = ["--kokoro", str(tmp_path), "--each", "2", "--out", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match="no .onnx model"):
        main(options)
    (tmp_path / "a.onnx").touch()
    with pytest.raises(ConfigError, match="--voice af_heart: voices are one"):
        main(options)
    assert main([*options, "--voice", "one"]) == 0
    found = read_labelled(tmp_path / "out")
    assert len(found.classes) == 10 and len(found.files) == 20
    seconds = [soundfile.info(file).duration for file in found.files]
    assert all(0.3 < one < 0.5 for one in seconds) and len(set(seconds)) > 10
