import pytest
import torch

from llmcodec.codec.source import PITCHES, pitch_place
from llmcodec.training.pitch import bridged, pitch_loss, track_pitch

RATE, HOP = 16_000, 160


def voice(pitch, seconds=1.0, harmonics=8):
    """A sum of harmonics of a pitch that glides a tenth upwards, and the pitch at every hop."""
    time = torch.arange(int(seconds * RATE)) / RATE
    glide = pitch * (1 + 0.1 * time / seconds)
    phase = 2 * torch.pi * (glide / RATE).double().cumsum(0)
    wave = sum(torch.sin(n * phase) / n for n in range(1, harmonics + 1))
    return 0.2 * wave.float(), glide[::HOP]


@pytest.mark.parametrize("pitch", [60.0, 100.0, 180.0, 300.0, 450.0])
def test_the_pitch_of_a_voice_is_found(pitch):
    wave, wanted = voice(pitch)
    found = track_pitch(wave[None], RATE, HOP)[0]
    assert found.shape == wanted.shape
    inner = slice(5, -5)
    assert float((found[inner] > 0).float().mean()) > 0.95
    heard = found[inner] > 0
    assert float((found[inner][heard] / wanted[inner][heard] - 1).abs().max()) < 0.02


def test_it_is_found_in_a_little_noise_and_not_after_the_voice():
    wave, wanted = voice(150.0)
    wave = torch.cat([wave, torch.zeros(8000)]) + 0.005 * torch.randn(24_000)
    found = track_pitch(wave[None], RATE, HOP)[0]
    assert float((found[5:95] / wanted[5:95] - 1).abs().median()) < 0.01
    assert float((found[105:] > 0).float().mean()) < 0.1


@pytest.mark.parametrize("wave", [torch.zeros(8000), torch.randn(8000)], ids=["silence", "noise"])
def test_there_is_no_pitch_where_nothing_is_periodic(wave):
    assert float((track_pitch(wave[None], RATE, HOP) > 0).float().mean()) < 0.1


def test_a_batch_is_its_clips():
    waves = torch.stack([voice(90.0)[0], voice(240.0)[0], torch.randn(RATE)])
    together = track_pitch(waves, RATE, HOP)
    assert torch.allclose(together, torch.cat([track_pitch(wave[None], RATE, HOP) for wave in waves]), rtol=1e-4)


def test_the_loss_is_least_where_the_scores_say_the_pitch():
    pitch = torch.tensor([[110.0, 0.0, 247.0]])
    place = pitch_place(pitch)

    def scores(shift, sure=6.0):
        told = -2 * (torch.arange(PITCHES) - place[..., None] - shift).abs()
        return torch.cat([told, torch.where(pitch > 0, sure, -sure)[..., None]], dim=-1)

    losses = [float(pitch_loss(scores(shift), pitch)) for shift in (0, 1, 3, 20)]
    assert losses == sorted(losses) and losses[0] < 1.2
    other = scores(0)
    other[:, 1, :-1] = torch.randn(PITCHES)  # where there is no pitch only that is asked
    assert float(pitch_loss(other, pitch)) == pytest.approx(losses[0])
    unsure = [float(pitch_loss(scores(0, sure), pitch)) for sure in (6.0, 2.0, 0.0, -2.0)]
    assert unsure == sorted(unsure) and unsure[2] - unsure[0] == pytest.approx(0.69, abs=0.01)


def test_short_gaps_are_bridged_and_long_ones_are_not():
    pitch = torch.tensor([[0.0, 100.0, 0.0, 0.0, 130.0, *[0.0] * 6, 200.0, *[0.0] * 5, 260.0, 0.0]])
    wanted = pitch.clone()
    wanted[0, 2:4] = torch.tensor([110.0, 120.0])
    wanted[0, 12:17] = torch.tensor([210.0, 220.0, 230.0, 240.0, 250.0])
    assert torch.allclose(bridged(pitch), wanted)
    assert not bridged(torch.zeros(2, 5)).any()
