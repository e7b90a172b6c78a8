"""What Enhancer promises, with a tiny random codec."""

import pytest
import torch

from llmcodec.errors import AudioError, ConfigError
from llmcodec.evaluation.metrics import si_sdr
from llmcodec.generation import Enhancer
from llmcodec.generation.enhance import mixtures, subtraction


def noise(samples, seed):
    return 0.3 * torch.randn(samples, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def pairs(sound):
    clean = [sound(12_000 + 1000 * n, seed=n) for n in range(3)]
    return [wave + noise(len(wave), 50 + n) for n, wave in enumerate(clean)], clean


@pytest.fixture
def enhancer(tiny_codec, pairs):
    return Enhancer(tiny_codec).fit(*pairs)


@pytest.mark.parametrize("samples", [1, 100, 479, 480, 5000, 16_001])
def test_a_clip_keeps_its_length(enhancer, sound, samples):
    found = enhancer.enhance(sound(samples))
    assert found.shape == (samples,) and found.isfinite().all()
    assert enhancer.enhance(torch.zeros(samples)).abs().max() == 0


def test_a_demonstration_becomes_cleaner(tiny_codec, pairs):
    noisy, clean = pairs
    for first, second in zip(noisy, clean, strict=True):
        found = Enhancer(tiny_codec, neighbours=1).fit(noisy, clean).enhance(first)
        assert si_sdr(second, found) > si_sdr(second, first) + 1


def test_pairs_without_noise_change_little(tiny_codec, pairs, sound):
    found = Enhancer(tiny_codec).fit(pairs[1], pairs[1]).enhance(sound(9000, seed=7))
    assert si_sdr(sound(9000, seed=7), found) > 20


def test_words_are_rewritten_by_those_of_the_clean_halves(enhancer, fake_llm, pairs):
    clip = pairs[0][1]
    for llm in (None, fake_llm):
        codes = enhancer.rewrite(clip, llm)
        enhancer.codec.check(codes)
        assert len(enhancer.codec.decode(codes)[0]) == len(clip)
        for layer, row in enumerate(codes.layers):
            known = {code for _, clean in enhancer.pairs for code in clean.layers[layer][0].tolist()}
            assert set(row[0].tolist()) <= known
    near = Enhancer(enhancer.codec, 1).fit(*pairs).rewrite(clip)
    own = enhancer.pairs[1][1]
    assert sum(int((a == b).sum()) for a, b in zip(near.layers, own.layers, strict=True)) > 0.7 * sum(
        row.numel() for row in own.layers
    )


def test_a_target_is_a_bound(enhancer, pairs):
    wave, target = pairs[0][0], pairs[1][0]
    assert si_sdr(target, enhancer.resembling(wave, target)) > si_sdr(target, wave)


def test_what_the_decoder_leaves_out_is_turned_down_too(enhancer, pairs, sound, monkeypatch):
    clean = sound(9000, seed=7)
    noisy = clean + noise(9000, 60)

    def gain(decoded):
        monkeypatch.setattr(enhancer.codec, "decode", lambda codes: decoded[None])
        return si_sdr(clean, enhancer.enhance(noisy))

    assert gain(clean) > gain(noisy) + 1


def test_pairs_that_cannot_be_used_are_refused(tiny_codec, pairs, tmp_path):
    noisy, clean = pairs
    made = Enhancer(tiny_codec)
    with pytest.raises(ConfigError, match="no demonstrations"):
        made.fit([], [])
    with pytest.raises(ConfigError, match="3 noisy recordings need as many clean ones, not 2"):
        made.fit(noisy, clean[:2])
    with pytest.raises(ConfigError, match="pair 2: the noisy recording has 13000 samples, the clean one 12000"):
        made.fit(noisy, [clean[0], clean[0], clean[2]])
    (tmp_path / "bad.wav").write_bytes(b"RIFF no")
    with pytest.raises(AudioError, match="bad.wav"):
        made.fit([noisy[0]], [tmp_path / "bad.wav"])
    with pytest.raises(ConfigError, match="neighbours: 0 must be 1 or more"):
        Enhancer(tiny_codec, neighbours=0)


def test_mixtures_keep_the_level_of_the_noise(pairs):
    made = mixtures(list(zip(*pairs, strict=True)), 2)
    assert len(made) == 6
    for n, (noisy, clean) in enumerate(made):
        first, other = pairs[1][n // 2], (n // 2 + 1 + n % 2) % 3
        assert torch.equal(clean, first)
        assert snr(noisy, clean) == pytest.approx(snr(pairs[0][other], pairs[1][other]), abs=0.5)
    assert mixtures([(pairs[0][0], pairs[1][0])], 3) == []
    unchanged = mixtures([(clean, clean) for clean in pairs[1]], 1)
    assert all(torch.equal(noisy, clean) for noisy, clean in unchanged)


def snr(noisy, clean):
    return float(10 * (clean.square().mean() / (noisy - clean).square().mean()).log10())


def test_what_is_steady_is_subtracted():
    power = torch.ones(50, 3)
    power[::2, 1] = 100.0
    gain = subtraction(power)
    assert gain[:, 0].max() < 0.3 and gain[1::2, 1].max() < 0.3 and gain[::2, 1].min() > 0.9
    assert (subtraction(torch.zeros(4, 3)) <= 1).all()
