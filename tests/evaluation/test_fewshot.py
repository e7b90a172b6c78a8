import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmcodec.codec import AudioCodes
from llmcodec.errors import ConfigError
from llmcodec.evaluation import Episode, draw_episodes, evaluate_fewshot, read_labelled
from llmcodec.evaluation.baselines import decide, linear_probe, nearest, prototype, word_vectors
from llmcodec.llm import FakeLLM

KINDS = ("words", "near words", "latents")
BASELINES = ["chance", "majority", *(f"{way}, {kind}" for kind in KINDS for way in ("nearest neighbour", "prototype"))]
EPISODE = Episode(("a", "b"), ((0, 1), (2, 3)), (4, 5))
POINTS = np.array([[1, 0, 0], [0, 1, 0.1], [0, 0.9, 1], [0, 1, 1], [1, 0.1, 0], [0, 0.1, 1]], dtype=float)


def test_neighbours_and_probe_name_the_obvious():
    random = np.random.default_rng(0)
    for method in (nearest, prototype, linear_probe):
        assert decide(method(POINTS)(EPISODE), random) == [0, 1]


def test_nearest_takes_the_largest_and_then_the_mean():
    assert nearest(POINTS)(EPISODE)[0, 0, 0] == pytest.approx(1, abs=0.01)
    tie = np.array([[[0.5, 0.1], [0.5, 0.2], [0.4, 0.9]]])
    assert decide(tie, np.random.default_rng(0)) == [1]


def test_ties_are_broken_evenly_and_by_seed():
    ties = np.zeros((300, 3))
    first = decide(ties, np.random.default_rng(5))
    assert first == decide(ties, np.random.default_rng(5))
    assert min(np.bincount(first)) > 60
    with pytest.raises(ConfigError, match="not finite"):
        decide(np.array([[0.1, np.nan]]), np.random.default_rng(0))


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=6), min_size=1, max_size=4))
def test_word_vectors_are_roots_of_counts(rows):
    clips = [AudioCodes((torch.tensor([row]), torch.tensor([row + [0]])), torch.tensor([1])) for row in rows]
    vectors = word_vectors(clips, [0])
    counts = np.array([[row.count(word) for word in sorted({word for row in rows for word in row})] for row in rows])
    expected = np.sqrt(counts) / np.sqrt(counts.sum(1, keepdims=True))
    np.testing.assert_allclose(vectors, expected, atol=1e-12)
    assert word_vectors(clips, [0, 1]).shape[1] >= vectors.shape[1]


def test_baselines_end_to_end(sounds, codec):
    folder = read_labelled(sounds)
    seen = []
    report = evaluate_fewshot(
        folder, codec, scorers=(), ways=3, shots=2, episodes=6, whisper=None, codec_name="tiny",
        progress=lambda *step: seen.append(step),
    )  # fmt: skip
    assert [row.method for row in report.rows] == BASELINES
    chance, majority, *words = report.rows
    assert (chance.accuracy, chance.low, chance.n) == (pytest.approx(1 / 3), None, 6)
    assert majority.accuracy == pytest.approx(1 / 3, abs=0.34)
    assert all(row.n == 6 and row.low <= row.accuracy <= row.high for row in words)
    assert report.setup["group_by"] == "recording" and report.setup["llm"] is None
    assert [step for step in seen if step[0] == "encode"][-1][1:] == (12, 12)
    assert json.loads(report.to_json())["provenance"]["seed"] == 0
    assert str(sounds.parent) not in report.to_json()
    assert report.to_markdown().count("\n| ") == len(BASELINES) + 1


def test_drawn_episodes_give_the_same_rows(sounds, codec):
    folder = read_labelled(sounds)
    drawn = draw_episodes(folder, 2, 1, 5, 7, queries=2)
    one = evaluate_fewshot(folder, codec, scorers=(), ways=2, shots=1, episodes=5, seed=7, queries=2, whisper=None)
    two = evaluate_fewshot(folder, codec, scorers=(), episodes=drawn, seed=7, whisper=None)
    assert one.setup == two.setup and one.rows[0].n == 10
    assert [row.accuracy for row in one.rows] == [row.accuracy for row in two.rows]


def test_the_same_audio_under_another_name_is_refused(sounds, codec, tmp_path):
    shutil.copytree(sounds, tmp_path / "copy")
    names = read_labelled(sounds).names
    samples, rate = soundfile.read(sounds / names[0], dtype="int16")
    (tmp_path / "copy" / names[2]).unlink()
    soundfile.write(tmp_path / "copy" / names[2], samples, rate)
    folder = read_labelled(tmp_path / "copy")
    with pytest.raises(ConfigError, match=f"{names[0]} and {names[2]} hold the same audio"):
        evaluate_fewshot(folder, codec, scorers=(), ways=3, shots=2, episodes=20, whisper=None)
    together = replace(folder, groups=("one",) * 3 + folder.groups[3:])
    assert evaluate_fewshot(together, codec, scorers=(), ways=2, shots=1, episodes=20, whisper=None).rows


def test_missing_whisper_is_a_note(sounds, codec, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    report = evaluate_fewshot(read_labelled(sounds), codec, scorers=(), episodes=2, whisper=str(tmp_path / "none"))
    assert len(report.notes) == 1 and "Whisper" in report.notes[0] and report.notes[0] in report.to_markdown()
    assert [row.method for row in report.rows] == BASELINES


def test_whisper_rows(sounds, codec, tmp_path):
    from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperModel

    sizes = {"encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2}
    config = WhisperConfig(
        vocab_size=60, d_model=16, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, decoder_start_token_id=3, **sizes,
    )  # fmt: skip
    WhisperModel(config).save_pretrained(tmp_path)
    WhisperFeatureExtractor().save_pretrained(tmp_path)
    report = evaluate_fewshot(read_labelled(sounds), codec, scorers=(), episodes=4, whisper=str(tmp_path))
    assert [row.method for row in report.rows[8:]] == [
        "nearest neighbour, whisper", "prototype, whisper", "linear probe, whisper",
    ]  # fmt: skip
    assert not report.notes


def test_unknown_names_fail_before_any_work(sounds, codec):
    folder = read_labelled(sounds)
    with pytest.raises(ConfigError, match="no layer 'colour'"):
        evaluate_fewshot(folder, codec, scorers=(), layers=["colour"], whisper=None)
    with pytest.raises(ConfigError, match="scorer 'guess'"):
        evaluate_fewshot(folder, codec, FakeLLM(), scorers=["guess"], whisper=None)


def test_language_model_rows(sounds, codec):
    report = evaluate_fewshot(
        read_labelled(sounds), codec, FakeLLM(), scorers=["knn", "direct"], ways=2, shots=2, episodes=6,
        layers=["semantic", "coarse"], whisper=None,
    )  # fmt: skip
    assert [row.method for row in report.rows[2:4]] == ["llm, knn", "llm, direct"]
    assert all(row.n == 6 for row in report.rows)
    assert all(0 <= row.ece <= 1 and row.log_loss >= 0 for row in report.rows[2:4])
    pairs = [(pair.method, pair.other) for pair in report.comparisons]
    neighbours = ["nearest neighbour, words", "nearest neighbour, near words"]
    assert pairs == [
        ("llm, knn", "llm, direct"),
        *(("llm, knn", other) for other in neighbours),
        *(("llm, direct", other) for other in neighbours),
    ]
    correct = {row.method: round(row.accuracy * row.n) for row in report.rows}
    for pair in report.comparisons:
        assert pair.only_method - pair.only_other == correct[pair.method] - correct[pair.other]
    assert report.to_markdown().count("McNemar") == 5
    assert report.setup["llm"] == "fake" and report.setup["layers"] == ["semantic", "coarse"]


def test_several_language_models_answer_the_same_queries(sounds, codec):
    one, other = FakeLLM(), FakeLLM(seed=1)
    with pytest.raises(ConfigError, match="two language models are called fake"):
        evaluate_fewshot(read_labelled(sounds), codec, [one, other], whisper=None)
    other.name = "other"
    report = evaluate_fewshot(read_labelled(sounds), codec, [one, other], episodes=6, whisper=None)
    assert [row.method for row in report.rows[2:4]] == ["llm fake, knn", "llm other, knn"]
    assert ("llm fake, knn", "llm other, knn") in [(pair.method, pair.other) for pair in report.comparisons]
    assert report.setup["llm"] == "fake, other"
    alone = evaluate_fewshot(read_labelled(sounds), codec, one, episodes=6, whisper=None)
    assert alone.rows[2].accuracy == report.rows[2].accuracy
