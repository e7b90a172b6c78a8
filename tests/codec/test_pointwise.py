"""A linear map stays a linear map, whatever order its weights are kept in."""

import copy
import pickle

import pytest
import torch
from torch import nn

from llmcodec.codec import pointwise
from llmcodec.codec.pointwise import Pointwise


@pytest.fixture(params=[True, False])
def ordering(request, monkeypatch):
    if request.param and not pointwise.orders_weights():
        pytest.skip("weights cannot be ordered here")
    monkeypatch.setattr(pointwise, "orders_weights", lambda: request.param)


@pytest.fixture
def layer(ordering):
    torch.manual_seed(0)
    return Pointwise(24, 40)


def same(layer, x):
    found = layer(x)
    assert torch.allclose(found, nn.functional.linear(x, layer.weight, layer.bias), atol=1e-5)
    return found


@pytest.mark.parametrize("steps", [1, 7, 300])
@torch.no_grad()
def test_it_is_a_linear_map_of_every_step(layer, steps):
    x = torch.randn(3, steps, 24)
    found = same(layer, x)
    assert torch.allclose(found[1:2], layer(x[1:2]), atol=1e-5)


@torch.no_grad()
def test_a_weight_that_changes_is_seen(layer):
    x = torch.randn(2, 5, 24)
    same(layer, x)
    layer.weight.mul_(2)
    same(layer, x)
    layer.load_state_dict(Pointwise(24, 40).state_dict())
    same(layer, x)
    layer.load_state_dict(Pointwise(24, 40).state_dict(), assign=True)
    same(layer, x)
    for _ in range(3):  # memory that is used again
        layer.half().float()
        same(layer, x)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
@torch.no_grad()
def test_a_copy_has_weights_of_its_own(layer, duplicate):
    x = torch.randn(2, 5, 24)
    before = same(layer, x)
    other = duplicate(layer)
    other.weight.zero_()
    same(other, x)
    assert torch.equal(layer(x), before)


def test_a_gradient_passes(layer):
    x = torch.randn(2, 5, 24, requires_grad=True)
    with torch.no_grad():
        layer(x)
    layer(x).sum().backward()
    assert torch.allclose(x.grad, layer.weight.sum(0).expand_as(x), atol=1e-5)
    assert layer.weight.grad is not None


def test_inference_mode_and_weights_made_in_it(ordering):
    with torch.inference_mode():
        same(Pointwise(24, 40), torch.randn(2, 5, 24))


def test_other_precisions(layer):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 5, 24)).dtype == torch.bfloat16
    with torch.no_grad():
        assert layer.double()(torch.randn(2, 5, 24, dtype=torch.float64)).dtype == torch.float64
