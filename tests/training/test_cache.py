import numpy as np
import pytest
import soundfile
import torch

from llmcodec.audio import load_audio
from llmcodec.errors import AudioError
from llmcodec.training import cache as module
from llmcodec.training.cache import FeatureCache, TeacherNames, mix_and_stretch
from llmcodec.training.sources import Clip, open_source


@pytest.fixture
def build(data, stand_ins, tmp_path):
    def call(clips=None, copies=None, root=None, mixed=0.5, **changes):
        teachers = {"teachers": TeacherNames(str(stand_ins["whisper"]), 1, str(stand_ins["text"]))}
        source = open_source(data)
        source.clips = source.clips if clips is None else clips
        settings = {"copies": copies or {}, "mixed": mixed, "seed": 0}
        return FeatureCache.build(root or tmp_path / "cache", source, **settings, **teachers | changes)

    return call


def test_waves_rows_and_texts_are_those_of_each_clip(build, data):
    cache = build()
    for number, clip in enumerate(cache.clips):
        wave = load_audio(data / clip.file)
        assert torch.allclose(cache.wave(number, 0, 99_999), wave, atol=1e-4)
        assert torch.equal(cache.wave(number, 50, 20), cache.wave(number, 0, 99_999)[50:70])
        frames = -(-len(wave) // 320)
        assert cache.rows(number, 0, 999).shape == (-(-frames // 3), 16)
        assert (cache.text_rows[number] >= 0) == bool(clip.text)
    assert len(cache.texts) == len({clip.text for clip in cache.clips} - {""})


def test_without_teachers_it_holds_waveforms_alone(build, data, monkeypatch):
    full = build()
    monkeypatch.setattr(module, "AudioTeacher", None)  # calling it would fail
    cache = build(teachers=None)
    assert cache.clips == full.clips and np.array_equal(cache.waves, full.waves)
    assert np.array_equal(cache.row_bounds, full.row_bounds) and np.array_equal(cache.text_rows, full.text_rows)
    assert cache.rows(0, 0, 2).shape == (2, 0) and cache.texts.shape == (len(full.texts), 0)


def test_copies_add_to_a_kind(build):
    cache = build(copies={"sound": 2})
    assert len(cache.clips) == 13 + 2 * 6 and all(clip.kind == "sound" for clip in cache.clips[13:])
    low, high = cache.wave_bounds[13]
    assert high > low and np.abs(cache.waves).max() <= 32767


def test_a_mixture_stays_in_range_and_changes_its_length(sound):
    random = np.random.default_rng(0)
    waves = [mix_and_stretch(sound(8000).numpy(), sound(3000, 1).numpy(), 0.5, random) for _ in range(8)]
    assert all(np.abs(wave).max() <= 1 and 0.7 * 8000 < len(wave) < 1.42 * 8000 for wave in waves)
    assert len({len(wave) for wave in waves}) > 4


def test_the_share_of_copies_with_another_sound_under_them_can_be_chosen(sound, build):
    def copies(other, mixed):
        return [mix_and_stretch(sound(8000).numpy(), other, mixed, np.random.default_rng(seed)) for seed in range(8)]

    noise, silence = sound(3000, 1).numpy(), np.zeros(3000, np.float32)
    for mixed, alone in ((0.0, {8}), (0.5, set(range(1, 8))), (1.0, {0})):
        same = sum(map(np.array_equal, copies(noise, mixed), copies(silence, mixed)))
        assert same in alone
    assert not np.array_equal(build(copies={"sound": 1}).waves, build(copies={"sound": 1}, mixed=0).waves)


def test_a_loud_clip_is_clipped_and_texts_may_be_absent(build, tmp_path):
    soundfile.write(tmp_path / "loud.wav", np.full(4000, 1.5, np.float32), 16_000, subtype="FLOAT")
    cache = build([Clip(str(tmp_path / "loud.wav"), "sound", "")])
    assert torch.equal(cache.wave(0, 0, 4000), torch.ones(4000))
    assert cache.text_rows.tolist() == [-1] and cache.texts.shape[0] == 0 and cache.texts.shape[1] > 1


def test_a_changed_clip_asks_for_a_new_cache(build, tmp_path):
    clip = [Clip(str(tmp_path / "a.wav"), "sound", "")]
    for samples in (4000, 5000):
        soundfile.write(tmp_path / "a.wav", np.full(samples, 0.1, np.float32), 16_000)
        assert build(clip).wave_bounds.tolist() == [[0, samples]]


def test_what_was_computed_is_used_again(build, monkeypatch):
    first = build()
    monkeypatch.setattr(module, "_compute", None)  # calling it would fail
    again = build()
    assert np.array_equal(first.features, again.features) and first.clips == again.clips
    with pytest.raises(TypeError):
        build(copies={"sound": 1})


def test_missing_and_damaged_clips_are_named_and_left_out(build, data, tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.full(100, np.nan, np.float32), 16_000, subtype="FLOAT")
    good, said = open_source(data).clips, []
    bad = [Clip("missing.wav", "sound", ""), Clip(str(tmp_path / "nan.wav"), "sound", "")]
    cache = build([bad[0], *good, bad[1]], complain=said.append)
    assert cache.clips == good and len(said) == 2
    assert "left out: " in said[0] and "missing.wav" in said[0] and "nan.wav: nan at sample 0" in said[1]


def test_a_cache_that_fails_leaves_nothing(build, tmp_path):
    with pytest.raises(AudioError, match="none of 1 clips can be read; the first: .*missing.wav"):
        build([Clip("missing.wav", "sound", "")])
    assert not list((tmp_path / "cache").iterdir())
