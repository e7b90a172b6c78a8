from dataclasses import replace

import pytest
import torch

from llmcodec.codec import SpectralConfig
from llmcodec.codec.place import Guide, Place
from llmcodec.codec.source import (
    HIGHEST_HZ,
    LOWEST_HZ,
    OVER_HZ,
    PITCHES,
    TOP,
    VOICED_BELOW_HZ,
    interpolation,
    pitch_place,
)
from llmcodec.errors import ModelError

RATE, HOP = 16_000, 160


@pytest.fixture
def source(tiny_codec):
    return tiny_codec.decoder.source


def glide(hops, low=100.0, high=220.0):
    return torch.linspace(low, high, hops)[None]


@pytest.mark.parametrize("pitch", [60.0, 123.4, 400.0])
def test_pulses_are_harmonics_of_one_power(source, pitch):
    wave, _ = source.pulses(torch.full((1, 100), pitch), torch.ones(1, 100), None)
    power = torch.fft.rfft(wave[0] * torch.hann_window(len(wave[0]))).abs().square()
    frequency = torch.fft.rfftfreq(wave.shape[1], 1 / RATE)
    harmonic = (frequency / pitch - (frequency / pitch).round()).abs() * pitch < 4
    assert float(power[harmonic].sum() / power.sum()) > 0.999
    assert float(power[frequency > TOP * RATE / 2 + 4].sum() / power.sum()) < 1e-3
    strongest = [float(power[(frequency - n * pitch).abs() < 4].max()) for n in range(1, 8)]
    assert max(strongest) < 1.6 * min(strongest)  # bins lie beside the harmonics
    assert float(wave.square().mean()) == pytest.approx(1, rel=0.05)


def test_a_glide_has_the_pitch_it_is_told_at_each_hop(source):
    pitch = glide(100)
    _, turns = source.pulses(pitch, torch.ones(1, 100), None)
    assert turns[0, 0] == 0
    cycles = (turns[0, 1:] - turns[0, :-1]) % (1 << 32) / (1 << 32)
    assert torch.allclose(cycles, (pitch[0, 1:] + pitch[0, :-1]) / 2 * HOP / RATE % 1, atol=1e-4)


def test_pieces_go_on_where_the_one_before_ended(source):
    pitch, mask = glide(60), torch.ones(1, 60)
    whole, turns = source.pulses(pitch, mask, None)
    step = source.net.spectra_per_frame
    piece, again = source.pulses(pitch[:, 30:], mask[:, 30:], Place(10, 4, turns[:, 30 + 4 * step]))
    assert torch.equal(piece, whole[:, 30 * HOP :]) and torch.equal(again, turns[:, 30:])


def test_there_are_no_pulses_behind_a_clip(source):
    mask = (torch.arange(40) < 25).float()[None]
    wave, _ = source.pulses(glide(40), mask, None)
    alone, _ = source.pulses(glide(40)[:, :25], torch.ones(1, 25), None)
    assert torch.equal(wave[:, : 25 * HOP], alone) and not wave[:, 25 * HOP :].any()


@pytest.mark.parametrize("pitch", [LOWEST_HZ, 101.0, 333.3, HIGHEST_HZ])
def test_the_expected_pitch_is_that_of_the_scores(source, pitch):
    place = pitch_place(torch.tensor([[pitch]]))
    scores = -2 * (torch.arange(PITCHES + 1) - place[..., None]).abs()
    scores[..., (int(place) + 48) % PITCHES] = -4  # a little likely, an octave or more away
    scores[..., -1] = 2.0
    frequency, voiced = source.expected(scores)
    assert float(frequency) == pytest.approx(pitch, rel=0.01)
    assert float(voiced) == pytest.approx(torch.tensor(2.0).sigmoid())


def test_an_envelope_passes_through_its_points():
    spread = interpolation(6, 640, RATE)
    assert spread.shape == (6, 321) and torch.allclose(spread.sum(0), torch.ones(321))
    assert spread[0, 0] == 1 and spread[-1, -1] == pytest.approx(1)


def test_a_decoder_follows_the_pitch_it_is_given(new_codec):
    codec = new_codec()
    decoder = codec.decoder
    decoder.source.to_envelope.bias.fill_(-3.0)
    latent, mask = torch.randn(1, 40, 16), torch.ones(1, 40, 1)
    told = decoder(latent, mask, guide=Guide(torch.full((1, 120), 200.0))).wave
    power = torch.fft.rfft(told[0, 3200:16_000] * torch.hann_window(12_800)).abs().square()
    frequency = torch.fft.rfftfreq(12_800, 1 / RATE)
    low = (frequency > 100) & (frequency < VOICED_BELOW_HZ - 4 * OVER_HZ)
    near = (frequency / 200 - (frequency / 200).round()).abs() * 200 < 15
    assert float(power[near & low].sum() / power[low].sum()) > 0.9
    untold = decoder(latent, mask, guide=Guide(torch.full((1, 120), 200.0), voicing=False))
    voiced = untold.pitch[..., -1].sigmoid()
    assert 0.1 < float(voiced.mean()) < 0.9 and not torch.allclose(untold.wave, told)


def test_a_sound_teaches_where_there_is_a_voice_but_not_its_pitch(new_codec):
    decoder = new_codec().decoder.requires_grad_()
    with torch.inference_mode(False), torch.enable_grad():
        latent, mask, pitch = torch.randn(1, 40, 16), torch.ones(1, 40, 1), torch.full((1, 120), 200.0)
        for guide in (None, Guide(pitch, voicing=False)):
            decoded = decoder(latent, mask, guide=guide)
            (found,) = torch.autograd.grad(decoded.wave.square().sum(), decoded.pitch)
            assert found[..., -1].any() and not found[..., :-1].any()
        decoded = decoder(latent, mask, guide=Guide(pitch))
        assert torch.autograd.grad(decoded.wave.square().sum(), decoded.pitch, allow_unused=True) == (None,)


def test_without_a_pitch_the_decoder_is_as_if_it_had_no_source(new_codec):
    decoder = new_codec().decoder
    latent, mask = torch.randn(1, 40, 16), torch.ones(1, 40, 1)
    unvoiced = decoder(latent, mask, guide=Guide(torch.zeros(1, 120))).wave
    decoder.source = None
    assert torch.allclose(unvoiced, decoder(latent, mask).wave, atol=1e-6)


def test_an_envelope_of_one_point_is_refused(tiny_codec):
    with pytest.raises(ModelError, match="harmonic_bands must be 0 or above 1"):
        replace(tiny_codec.config, backbone=SpectralConfig(harmonic_bands=1))
