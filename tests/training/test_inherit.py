import pytest
import torch
from torch import nn

from llmcodec.codec import CodecConfig, SpectralConfig
from llmcodec.codec.listener import Listener
from llmcodec.errors import ConfigError
from llmcodec.teachers import AudioTeacher
from llmcodec.training.inherit import attention, by_distance, inherit, layer_inputs

SIZES = {"listener_width": 16, "listener_heads": 2, "listener_expansion": 2, "listener_slow_depth": 1}


def listener(**fields):
    config = CodecConfig(backbone=SpectralConfig(**(SIZES | fields)))
    return Listener(config, config.backbone)


@pytest.fixture
def teacher(stand_ins):
    return AudioTeacher(str(stand_ins["whisper"]), layer=2)


def test_the_front_hears_what_the_teacher_hears_without_its_positions(teacher, sound):
    mine = listener(listener_depth=0, listener_slow_depth=0, listener_pool=1)
    inherit(mine, teacher, [sound(16_000)])
    mine.norm = nn.Identity()
    wave = sound(19_200, 1)
    found = mine(wave[None], torch.ones(1, 40, 1))[0].unflatten(1, (6, 16)).flatten(0, 1)
    positions = teacher.encoder.embed_positions.weight
    wanted = layer_inputs(teacher, wave)[0] - positions[:60] + positions[:50].mean(0)
    assert torch.allclose(found[2:-2], wanted[2:-2], atol=1e-3)


def test_layers_are_the_teachers_and_their_weights_its_mean_attention(teacher, sound):
    mine = listener(listener_kernel=99)
    waves = [sound(16_000), sound(16_000, 1)]
    inherit(mine, teacher, waves)
    first, second = teacher.encoder.layers
    assert torch.equal(mine.fast[0].expand.weight, first.fc1.weight)
    assert torch.equal(mine.slow[0].mix_time.value.bias, second.self_attn.v_proj.bias)
    shares = torch.stack([attention(first, layer_inputs(teacher, wave)[0]) for wave in waves]).mean(0)
    kernel = mine.fast[0].mix_time.weight
    assert torch.allclose(kernel.sum(1), torch.ones(2))
    ahead = sum(shares.diagonal(distance, 1, 2).sum(1) for distance in range(1, 50)) / 50
    assert torch.allclose(kernel[:, 50:].sum(1), ahead, atol=1e-5)
    assert torch.allclose(mine.slow[0].mix_time.weight.sum(1), torch.ones(2))


def test_attention_is_that_of_the_layer(teacher, sound):
    layer = teacher.encoder.layers[0]
    hidden = layer_inputs(teacher, sound(16_000))[0]
    shares, normed = attention(layer, hidden), layer.self_attn_layer_norm(hidden)
    value = layer.self_attn.v_proj(normed).unflatten(1, (2, 8)).transpose(0, 1)
    mixed = layer.self_attn.out_proj((shares @ value).transpose(0, 1).flatten(1))
    assert torch.allclose(mixed, layer.self_attn(normed[None])[0][0], atol=1e-5)


def test_distances_are_counted_in_pooled_steps_and_far_ones_left_out():
    looks_ahead = torch.diag(torch.ones(9), 1)[None]  # each of ten steps at the next, the last at none
    assert by_distance(looks_ahead, 3, 1).tolist() == [[0, 0, pytest.approx(0.9)]]
    far = torch.diag(torch.ones(6), 4)[None]
    assert by_distance(far, 3, 1).tolist() == [[0, 0, 0]]
    assert by_distance(far, 3, 3).tolist() == [[0, 0, pytest.approx(0.6)]]


@pytest.mark.parametrize("fields", [{"listener_width": 24}, {"listener_heads": 4}, {"listener_mels": 20}])
def test_a_listener_of_other_sizes_is_refused(teacher, sound, fields):
    with pytest.raises(ConfigError, match="semantic.inherit: the backbone's listener is not of the audio teacher's"):
        inherit(listener(**fields), teacher, [sound(16_000)])
