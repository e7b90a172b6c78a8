import pytest
import torch
from transformers import WhisperFeatureExtractor

from llmcodec.codec import CodecConfig, LayerConfig, SpectralConfig
from llmcodec.codec.listener import LightConv, Listener
from llmcodec.codec.mel import mel_filterbank, slaney_filterbank
from llmcodec.errors import ModelError


def test_the_filters_are_whispers():
    wanted = torch.as_tensor(WhisperFeatureExtractor(feature_size=80).mel_filters, dtype=torch.float32)
    assert torch.allclose(slaney_filterbank(80, 400, 16_000), wanted, atol=1e-6)


@pytest.mark.parametrize(("mels", "size", "rate"), [(100, 640, 16_000), (20, 256, 4_000), (80, 2048, 48_000)])
def test_every_filter_hears_something(mels, size, rate):
    filters = mel_filterbank(mels, size, rate)
    assert filters.shape == (size // 2 + 1, mels)
    assert torch.allclose(filters.sum(0), torch.ones(mels), atol=1e-5) and (filters >= 0).all()


def test_spectra_are_whispers_where_its_floor_is_the_same(sound):
    config = CodecConfig()
    listener = Listener(config, config.backbone)
    wave = sound(16_000)
    (wanted,) = WhisperFeatureExtractor(feature_size=80)(
        [wave.numpy()], sampling_rate=16_000, return_tensors="pt", padding="longest", truncation=False
    ).input_features
    found = listener.log_mel(wave[None])[0]
    assert found.shape == (100, 80)
    assert torch.allclose(found[2:-2], wanted.T[2:-2], atol=1e-3)  # the ends: mirrored there, silence here


def test_a_light_convolution_is_the_weighted_sum_of_steps():
    torch.manual_seed(0)
    light = LightConv(width=4, heads=2, kernel=3)
    light.weight.data = torch.randn(2, 3)
    x, mask = torch.randn(1, 5, 4), torch.tensor([1, 1, 1, 1, 0.0])[None, :, None]
    value = light.value(x) * mask
    padded = torch.cat([torch.zeros(1, 1, 4), value, torch.zeros(1, 1, 4)], dim=1)
    weight = light.weight[[0, 0, 1, 1]]
    wanted = sum(padded[:, place : place + 5] * weight[:, place] for place in range(3))
    assert torch.allclose(light(x, mask), light.out(wanted), atol=1e-6)


def test_what_lies_beyond_its_reach_changes_nothing(tiny_codec, sound):
    config = tiny_codec.config
    listener = tiny_codec.encoder.listener
    wave = sound(60 * config.unit_samples)
    frames = len(wave) // config.frame_samples
    mask = torch.ones(1, frames, 1)
    before = listener(wave[None], mask)
    assert before.shape == (1, frames // 4, config.context_width)
    place = frames // 2
    other = wave.clone()
    other[place * config.frame_samples : (place + 1) * config.frame_samples] = 0
    changed = (listener(other[None], mask) - before).abs().amax((0, 2)).nonzero() * 4
    assert len(changed) and changed.min() >= place - listener.reach - 3 and changed.max() <= place + listener.reach


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"listener_heads": 3}, "listener_width must be a multiple of listener_heads"),
        ({"listener_kernel": 4}, "listener_kernel and listener_slow_kernel must be odd"),
        ({"listener_fft_size": 120}, "listener_fft_size must be even and no smaller than hop"),
        ({"listener_pool": 4}, "has a code every 12 spectra; that must be a multiple of twice listener_pool, 8"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ModelError, match=message):
        CodecConfig(backbone=SpectralConfig(**fields))
    CodecConfig(backbone=SpectralConfig(**fields), layers=(LayerConfig("fine", 1, 16),))  # nothing listens
