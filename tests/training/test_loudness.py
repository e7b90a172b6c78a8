import pytest
import torch

from llmcodec.training.loudness import LoudnessLoss


def test_what_is_added_is_louder_than_what_is_missing(sound):
    loss, wave = LoudnessLoss(16_000), sound(16_000)[None]
    noise = torch.randn(1, 16_000, generator=torch.Generator().manual_seed(0))
    hiss = [float(loss(wave + level * noise, wave)) for level in (0.0, 1e-5, 1e-3, 1e-2)]
    assert hiss[0] < 2e-4 and hiss == sorted(hiss) and hiss[3] > 10 * hiss[0]
    assert float(loss(wave + 0.01 * noise, wave)) > float(loss(wave, wave + 0.01 * noise))


def test_loudness_is_heard_at_one_level(sound):
    loss, wave, other = LoudnessLoss(16_000), sound(16_000)[None], sound(16_000, 1)[None]
    assert float(loss(0.1 * other, 0.1 * wave)) == pytest.approx(float(loss(other, wave)), rel=1e-3)
    silence = torch.zeros(1, 16_000)
    assert float(loss(silence, silence)) < 2e-4 and loss(other, silence).isfinite()


def test_a_tone_of_forty_decibels_has_about_one_sone():
    loss = LoudnessLoss(16_000)
    band = int(loss.bands[32].argmax())  # 1 kHz
    power = torch.zeros(loss.bands.shape[1])
    power[band] = 1e4
    assert float(loss._loudness(power)[band]) == pytest.approx(1, abs=0.2)
    assert loss._loudness(loss.threshold).abs().max() < 1e-6
