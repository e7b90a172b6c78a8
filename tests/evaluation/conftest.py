"""A folder of tones and noises, and a codec with random weights."""

import csv

import numpy as np
import pytest
import torch

from llmcodec.audio import save_audio
from llmcodec.codec import CodecConfig, LayerConfig, LLMCodec, SpectralConfig
from llmcodec.vocabulary import Vocabulary

RATE = 16_000
LABELS = ("hiss", "hum", "beep")
WORDS = Vocabulary.portable().words


def clip(label: str, number: int) -> torch.Tensor:
    random = np.random.default_rng([LABELS.index(label), number])
    time = np.arange(int(RATE * (0.4 + 0.1 * number))) / RATE
    noise = random.normal(size=len(time))
    pitch = {"hiss": 0.0, "hum": 110.0, "beep": 2000.0}[label] * (1 + 0.02 * number)
    wave = 0.3 * np.sin(2 * np.pi * pitch * time) + (0.1 if label == "hiss" else 0.005) * noise
    return torch.from_numpy(wave).float()


@pytest.fixture(scope="session")
def sounds(tmp_path_factory):
    """Three classes of four clips, from two recordings each, as an audiofolder."""
    folder = tmp_path_factory.mktemp("sounds")
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["file_name", "label", "recording", "text"])
        for label in LABELS:
            for number in range(4):
                save_audio(folder / f"{label}-{number}.wav", clip(label, number))
                rows.writerow([f"{label}-{number}.wav", label, f"{label}-{number // 2}", "one two three"])
    return folder


@pytest.fixture(scope="session")
def codec():
    torch.manual_seed(0)
    sizes = {"width": 16, "depth": 1}
    widths = {
        f"{part}_{key}": size for part in ("encoder", "listener", "decoder", "fine") for key, size in sizes.items()
    }
    layers = (LayerConfig("semantic", 4, 8, from_context=True), LayerConfig("coarse", 2, 8), LayerConfig("fine", 1, 8))
    config = CodecConfig(
        latent_dim=16,
        backbone=SpectralConfig(mels=20, listener_mels=20, listener_heads=2, listener_slow_depth=1, **widths),
        layers=layers,
    )
    return LLMCodec(config, [Vocabulary(WORDS[n : n + 32]) for n in (0, 40, 80)]).eval().requires_grad_(False)
