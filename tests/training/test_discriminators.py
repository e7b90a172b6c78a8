import pytest
import torch

from llmcodec.training.discriminators import Discriminators, adversarial_loss, discriminator_loss, feature_loss


@pytest.fixture
def judges():
    torch.manual_seed(0)
    return Discriminators(stft_sizes=[64, 128], periods=[2, 3], width=4)


@pytest.mark.parametrize("kind", ["hinge", "least_squares"])
def test_discriminators_learn_to_tell_noise_from_tones_and_then_a_codec_would_hear_of_it(judges, kind):
    generator = torch.Generator().manual_seed(0)
    tones = torch.sin(torch.arange(1000) * torch.rand(8, 1, generator=generator))
    noise = torch.randn(8, 1000, generator=generator)
    optimiser = torch.optim.Adam(judges.parameters(), 3e-3)
    history = []
    for _ in range(40):
        loss = discriminator_loss(judges(torch.cat([tones, noise])), kind)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        history.append(float(loss.detach()))
    assert history[-1] < 0.5 * history[0]
    assert adversarial_loss(judges(noise), kind) > adversarial_loss(judges(tones), kind)


def test_feature_matching_is_nothing_between_equals_and_leaves_the_real_side_alone(judges):
    wave = torch.randn(2, 500, generator=torch.Generator().manual_seed(0))
    assert feature_loss(judges(wave), judges(wave)) == 0
    made = (wave + 0.1).requires_grad_()
    real = wave.clone().requires_grad_()
    feature_loss(judges(real), judges(made)).backward()
    assert made.grad.abs().sum() > 0 and real.grad is None


@pytest.mark.parametrize("length", [300, 301, 1000])
def test_any_length_is_judged_by_all_members(judges, length):
    judged = judges(torch.randn(3, length))
    assert len(judged) == 4 and all(verdict.shape[0] == 3 and len(features) >= 4 for features, verdict in judged)
