"""A folder of tones, models to learn from, and a recipe that takes seconds."""

import csv

import pytest
import soundfile
from stand_ins import WORDS, save_llm, save_text_model, save_whisper

from llmcodec.training.recipe import Recipe


@pytest.fixture(scope="session")
def text_model(tmp_path_factory):
    """text_model("t5" or "bert") -> the folder of a tiny random text encoder."""
    return lambda kind: save_text_model(kind, tmp_path_factory.mktemp(kind))


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory):
    """Folders of a tiny Whisper, text encoder and language model."""
    root = tmp_path_factory.mktemp("models")
    return {
        "whisper": save_whisper(root / "whisper"), "text": save_text_model("bert", root / "text"),
        "llm": save_llm(root / "llm"),
    }  # fmt: skip


@pytest.fixture(scope="session")
def data(tmp_path_factory, sound):
    """Twelve tones of two kinds, 0.4 s to 1.5 s, most with a text; and one clip shorter than a frame."""
    folder = tmp_path_factory.mktemp("data")
    rows = []
    for number in range(12):
        name = f"{'low' if number % 2 else 'high'}{number}.wav"
        soundfile.write(folder / name, 0.9 * sound(6400 + 1600 * number, number).clamp(-1, 1).numpy(), 16_000)
        rows.append((name, "speech" if number % 2 else "sound", "" if number == 3 else WORDS[number % 5]))
    soundfile.write(folder / "short.wav", sound(100).numpy(), 16_000)
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows([("file_name", "kind", "text"), *rows, ("short.wav", "speech", "")])
    return folder


@pytest.fixture(scope="session")
def cache_root(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def recipe(stand_ins):
    """recipe(fields, steps=6, ...) -> a Recipe: `fields` replace its own, the others those of the optimiser."""

    def words(size):
        return {"source": "llm", "size": size}

    def build(fields=None, **optimiser):
        values = {
            "llm": str(stand_ins["llm"]),
            "data": {"crop_seconds": 0.48, "copies": {"sound": 1}, "balance": {"speech": 0.5, "sound": 0.5}},
            "teachers": {"audio": str(stand_ins["whisper"]), "audio_layer": 1, "text": str(stand_ins["text"])},
            "latent_dim": 16,
            "backbone": {
                "mels": 20, "kernel": 3, "expansion": 1, "encoder_width": 16, "encoder_depth": 1, "listener_mels": 20,
                "listener_width": 16, "listener_heads": 2, "listener_expansion": 1, "listener_kernel": 3,
                "listener_slow_depth": 1, "listener_slow_kernel": 3, "decoder_width": 16, "decoder_depth": 1,
                "fine_width": 8, "fine_depth": 1,
            },
            "layers": [
                {"name": "semantic", "stride": 4, "lookup_dim": 8, "from_context": True, "words": words(12)},
                {"name": "coarse", "stride": 2, "lookup_dim": 4, "words": words(30)},
                {"name": "fine", "stride": 1, "lookup_dim": 4, "words": words(None)},
            ],
            "semantic": {"sample_clips": 30, "kmeans_rounds": 3},
            "optimiser": {"steps": 6, "batch_size": 3, "warmup_steps": 2, "learning_rate": 3e-3} | optimiser,
            "log_every": 3,
            "checkpoint_every": 3,
        }  # fmt: skip
        return Recipe.model_validate(values | (fields or {}))

    return build
