import pytest
import torch

from llmcodec.training.losses import ReconstructionLoss, envelope_loss, third_octaves


def test_the_same_sound_costs_nothing_and_another_does(sound):
    loss = ReconstructionLoss(16_000)
    wave, other = sound(16_000)[None], sound(16_000, 1)[None]
    assert all(value < 1e-6 for value in loss(wave, wave).values())
    assert all(value > 0.1 for value in loss(other, wave).values())


def test_envelopes_count_by_shape_alone():
    wanted = torch.rand(2, 50, 15, generator=torch.Generator().manual_seed(0))
    assert envelope_loss(3 * wanted + 1, wanted, 38) == pytest.approx(0, abs=1e-5)
    assert envelope_loss(-wanted, wanted, 38) == pytest.approx(2, abs=1e-5)
    assert envelope_loss(torch.ones_like(wanted), wanted, 38) == pytest.approx(1)
    assert envelope_loss(wanted[:, :20], wanted[:, :20], 38) == pytest.approx(0, abs=1e-5)  # shorter than a segment


def test_third_octaves_are_disjoint_and_none_is_empty():
    bands = third_octaves(640, 16_000)
    assert bands.shape == (321, 15) and bands.sum(1).max() == 1 and bands.sum(0).min() >= 1
