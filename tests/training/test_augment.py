import numpy as np
import pytest

from llmcodec.training.augment import add_noise, augment, band_limit, reverberate
from llmcodec.training.recipe import Data


@pytest.fixture
def wave(sound):
    return sound(16_000).numpy()


def high_share(wave):
    spectrum = np.abs(np.fft.rfft(wave)) ** 2
    return spectrum[7500:].sum() / spectrum.sum()


@pytest.mark.parametrize("change", [reverberate, add_noise, band_limit])
@pytest.mark.parametrize("length", [1, 100, 16_000])
def test_a_change_keeps_length_and_type_and_changes_with_the_seed(change, wave, length):
    one, again, other = (change(wave[:length], np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert one.shape == (length,) and one.dtype == np.float32 and np.isfinite(one).all()
    assert np.array_equal(one, again) and not np.array_equal(one, other)


def test_noise_stays_between_5_and_30_db_below(wave):
    for seed in range(10):
        noise = add_noise(wave, np.random.default_rng(seed)) - wave
        assert 4.9 < 10 * np.log10(np.mean(wave**2) / np.mean(noise**2)) < 30.1


def test_a_low_pass_takes_the_highest_away(wave):
    assert high_share(band_limit(wave, np.random.default_rng(0))) < 0.2 * high_share(wave)


def test_reverberation_lasts_beyond_the_sound(wave):
    wave[8000:] = 0
    assert np.abs(reverberate(wave, np.random.default_rng(0))[8000:8800]).max() > 1e-3


def test_no_change_has_probability_0_and_all_have_1(wave):
    plain, target = augment(wave, "speech", Data(gain_db=0), np.random.default_rng(0))
    assert np.array_equal(plain, target)
    assert np.allclose(plain, wave / max(1, np.abs(wave).max()))
    every, target = augment(wave, "speech", Data(gain_db=0, noise=1, reverb=1, band_limit=1), np.random.default_rng(0))
    assert np.array_equal(every, target)
    assert np.abs(every).max() <= 1 and not np.allclose(every, plain, atol=0.01)


def test_silence_stays_finite():
    every = augment(
        np.zeros(500, np.float32), "speech", Data(noise=1, reverb=1, band_limit=1), np.random.default_rng(0)
    )
    assert not np.any(every)


def test_what_is_to_be_restored_is_the_sound_before_its_changes_at_the_same_level(wave):
    data = Data(gain_db=12, noise=1, reverb=1, band_limit=1)
    for seed in range(5):
        same, _ = augment(wave, "speech", data, np.random.default_rng(seed))
        changed, target = augment(
            wave, "speech", data.model_copy(update={"restore": ["speech"]}), np.random.default_rng(seed)
        )
        gain = target[100] / wave[100]
        assert np.allclose(target, gain * wave, atol=1e-6)
        assert not np.allclose(changed, target, atol=0.01)
        assert np.allclose(changed / np.abs(changed).max(), same / np.abs(same).max(), atol=1e-5)
        assert max(np.abs(changed).max(), np.abs(target).max()) <= 1 + 1e-6


def test_only_the_kinds_that_are_named_are_restored(wave):
    data = Data(noise=1, restore=["speech"])
    sound, same = augment(wave, "sound", data, np.random.default_rng(0))
    speech, target = augment(wave, "speech", data, np.random.default_rng(0))
    assert np.array_equal(sound, same) and not np.allclose(speech, target, atol=0.01)
