import pytest
import torch

from llmcodec.training.balance import Balancer


def test_shares_of_the_gradient_are_the_weights_whatever_the_scales():
    wave = torch.zeros(2, 8, requires_grad=True)
    first, second = torch.zeros(2, 8), torch.zeros(2, 8)
    first[0, 0], second[1, 3] = 1000.0, 0.001
    losses = {"a": (wave * first).sum(), "b": (wave * second).sum()}
    Balancer(total=3.0)(losses, {"a": 2.0, "b": 1.0}, wave).backward()
    assert wave.grad[0, 0] == pytest.approx(2.0) and wave.grad[1, 3] == pytest.approx(1.0)


def test_norms_are_running_means_that_a_checkpoint_keeps():
    wave = torch.zeros(1, 4, requires_grad=True)
    balancer = Balancer(total=1.0, decay=0.5)
    for scale in (1.0, 3.0):
        balancer({"a": scale * wave.sum()}, {"a": 1.0}, wave)
    other = Balancer(total=1.0)
    other.load_state_dict(balancer.state_dict())
    assert other.norms == balancer.norms == {"a": pytest.approx(4.0)}  # norms 2 and 6
