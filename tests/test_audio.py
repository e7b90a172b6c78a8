import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from llmcodec.audio import (
    MAX_BLOCK,
    AudioWriter,
    active_level,
    at_active_level,
    audio_info,
    load_audio,
    save_audio,
    stream_audio,
)
from llmcodec.errors import AudioError

FORMATS = [("wav", "FLOAT"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", "MPEG_LAYER_III")]
samples = st.floats(-1, 1, width=32)


def tone(seconds: float, rate: int, channels: int = 1, hertz: float = 440.0) -> np.ndarray:
    """A tone, float32 [T, channels], each channel at its own loudness."""
    wave = 0.8 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)
    return (wave[:, None] * np.linspace(1, 0.5, channels)).astype(np.float32)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 10), st.integers(1, 300)), elements=samples),
    st.sampled_from([4_000, 8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000]),
)
@settings(deadline=None)
def test_any_array_becomes_mono_float32_of_the_documented_length(array: np.ndarray, rate: int) -> None:
    wave = load_audio(array, source_rate=rate)
    assert wave.dtype == torch.float32 and wave.ndim == 1
    assert abs(len(wave) - array.shape[1] * 16_000 / rate) <= 0.5 or len(wave) == 1
    assert torch.equal(wave, load_audio(torch.from_numpy(array), source_rate=rate))
    mono = array.mean(axis=0, dtype=np.float64).astype(np.float32)
    torch.testing.assert_close(wave, load_audio(mono, source_rate=rate), atol=1e-6, rtol=0)
    if rate == 16_000:
        np.testing.assert_allclose(wave.numpy(), mono, atol=1e-7)


@given(st.integers(1, 10), st.sampled_from(["int16", "int32", "int8", "uint8"]))
def test_integer_arrays_are_scaled_to_full_scale(channels: int, kind: str) -> None:
    limits = np.iinfo(kind)
    wave = load_audio(np.tile(np.array([limits.min, limits.max], kind), (channels, 1)))
    assert wave[0] == -1 and 0.99 < wave[1] <= 1


def test_half_precision_tensors_and_tensors_with_gradient_load() -> None:
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        assert load_audio(torch.full((3,), 0.5, dtype=dtype, requires_grad=True)).tolist() == [0.5, 0.5, 0.5]


def test_the_loaded_wave_is_a_copy_of_the_array() -> None:
    array = np.zeros(4, np.float32)
    load_audio(array)[0] = 1
    assert not array.any()


@pytest.mark.parametrize(("suffix", "subtype"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_container_reads_streams_and_tells_its_header(
    tmp_path: Path, suffix: str, subtype: str, channels: int
) -> None:
    path, rate = tmp_path / f"tone.{suffix}", 48_000
    soundfile.write(path, tone(1.3, rate, channels), rate, subtype=subtype)
    whole = load_audio(path)
    info = audio_info(path)
    assert (info.path, info.sample_rate, info.channels) == (path, rate, channels)
    assert info.seconds == pytest.approx(1.3, abs=0.1)
    assert len(whole) == round(info.seconds * 16_000)
    assert torch.fft.rfft(whole).abs().argmax() / info.seconds == pytest.approx(440, abs=2)
    for chunk_seconds in (0.001, 0.37, 2.0):
        streamed = torch.cat(list(stream_audio(path, chunk_seconds=chunk_seconds)))
        torch.testing.assert_close(streamed, whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize("rate", [4_000, 8_000, 44_100, 192_000])
@pytest.mark.parametrize("frames", [1, 2, 500])
def test_short_silent_and_many_channelled_files_load(tmp_path: Path, rate: int, frames: int) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros((frames, 8)), rate)
    wave = load_audio(tmp_path / "silence.wav")
    assert len(wave) >= 1 and not wave.any()
    assert len(torch.cat(list(stream_audio(tmp_path / "silence.wav", chunk_seconds=1e-9)))) == len(wave)


def test_resampling_keeps_the_tone_and_removes_what_does_not_fit(tmp_path: Path) -> None:
    kept = load_audio(tone(1, 44_100)[:, 0], source_rate=44_100)
    gone = load_audio(tone(1, 44_100, hertz=15_000)[:, 0], source_rate=44_100)
    torch.testing.assert_close(kept[2000:-2000], torch.from_numpy(tone(1, 16_000)[2000:-2000, 0]), atol=1e-3, rtol=0)
    assert gone[2000:-2000].abs().max() < 1e-3


def make_bad_files(folder: Path) -> dict[Path, str]:
    """Files that must be refused, each with a part of the reason."""
    text, cut, empty, nan, raw = (folder / name for name in ("a.wav", "b.flac", "c.wav", "d.wav", "e.raw"))
    text.write_text("this is no sound")
    cut.write_bytes(b"")
    soundfile.write(empty, np.zeros(0), 16_000)
    wave = np.zeros(20_000, np.float32)
    wave[12_345] = np.nan
    soundfile.write(nan, wave, 16_000, subtype="FLOAT")
    raw.write_bytes(b"\0" * 100)
    slow, fast = folder / "slow.wav", folder / "fast.wav"
    soundfile.write(slow, np.zeros(10), 3_999)
    soundfile.write(fast, np.zeros(10), 192_001)
    return {
        text: "no audio file",
        cut: "no audio file",
        empty: "no samples",
        nan: "nan at sample 12345",
        raw: "no audio file",
        slow: "3999 Hz",
        fast: "192001 Hz",
        folder / "gone.wav": "no such file",
        folder: "directory",
    }


def test_a_bad_file_is_refused_in_one_line_that_names_it(tmp_path: Path) -> None:
    for path, reason in make_bad_files(tmp_path).items():
        for read in (load_audio, lambda path: list(stream_audio(path, chunk_seconds=0.1))):
            with pytest.raises(AudioError) as caught:
                read(path)
            message = str(caught.value)
            assert str(path) in message and reason.lower() in message.lower() and "\n" not in message


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros(0, np.float32), "no samples"),
        (np.zeros((2, 0), np.float32), "no samples"),
        (np.zeros((1, 2, 3), np.float32), "shape"),
        (np.zeros((5_000, 2), np.float32), "channels"),
        (np.array([0, np.inf]), "inf at sample 1"),
        (np.array([0, 1e300]), "inf at sample 1"),
        (np.array([[0, np.inf], [0, -np.inf]]), "nan at sample 1"),
        (np.zeros(3, np.int64), "int64"),
        (np.zeros(3, np.complex64), "complex64"),
        (np.array(["x"]), "type"),
    ],
)
def test_a_bad_array_is_refused_with_the_reason(array: np.ndarray, reason: str) -> None:
    with pytest.raises(AudioError, match=reason):
        load_audio(array)


@pytest.mark.parametrize("rate", [0, -1, 3_999, 192_001, float("nan")])
def test_rates_outside_the_range_are_refused(tmp_path: Path, rate: int) -> None:
    for attempt in (
        lambda: load_audio(np.zeros(9), source_rate=rate),
        lambda: load_audio(np.zeros(9), sample_rate=rate, source_rate=16_000),
        lambda: AudioWriter(tmp_path / "a.wav", rate),
    ):
        with pytest.raises(AudioError, match="from 4000 to 192000 Hz"):
            attempt()


def test_chunks_must_have_a_length(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="above 0"):
        next(stream_audio(tmp_path / "any.wav", chunk_seconds=0))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".WAV"])
def test_what_is_written_reads_back_clipped_and_within_16_bits(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"out{suffix}"
    wave = torch.linspace(-2, 2, 1_001)
    with AudioWriter(path, 8_000) as writer:
        for piece in wave.split(100):
            writer.write(piece)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert soundfile.info(path).subtype == "PCM_16" and audio_info(path).sample_rate == 8_000
    torch.testing.assert_close(load_audio(path, 8_000), wave.clip(-1, 1), atol=2**-14, rtol=0)


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    save_audio(path, torch.full((5,), 0.5))
    with pytest.raises(AudioError, match="exists already"):
        save_audio(path, torch.zeros(5))
    assert load_audio(path)[0] == 0.5
    save_audio(path, torch.zeros(5), overwrite=True)
    assert load_audio(path)[0] == 0


@pytest.mark.parametrize("wave", [torch.tensor([0, float("nan")]), torch.zeros(2, 2), torch.zeros(0)])
def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, wave: torch.Tensor) -> None:
    with pytest.raises(AudioError):
        save_audio(tmp_path / "a.wav", wave)
    with pytest.raises(KeyError), AudioWriter(tmp_path / "a.wav", 16_000) as writer:
        writer.write(torch.zeros(5))
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    save_audio(tmp_path / "a.wav", torch.zeros(5))
    before = (tmp_path / "a.wav").read_bytes()
    with pytest.raises(AudioError):
        save_audio(tmp_path / "a.wav", torch.tensor([float("inf")]), overwrite=True)
    assert (tmp_path / "a.wav").read_bytes() == before and os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a.mp3", "use .wav or .flac"),
        ("a", "without suffix"),
        ("no/a.wav", "does not exist"),
        ("folder.wav", "a folder"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(AudioError, match=reason):
        save_audio(tmp_path / name, torch.zeros(5))


def test_writing_outside_the_block_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AudioError, match="not open"):
        AudioWriter(tmp_path / "a.wav", 16_000).write(torch.zeros(5))


def test_what_is_held_at_a_time_is_bounded_whatever_the_channels(tmp_path, monkeypatch):
    path, blocks = tmp_path / "wide.wav", []
    soundfile.write(path, np.zeros((9000, 1024), np.int16), 192_000)
    read = soundfile.SoundFile.read

    def watched(file, frames, **options):
        blocks.append(frames)
        return read(file, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", watched)
    assert len(load_audio(path)) == 750
    assert len(blocks) > 2 and all(frames * 1024 <= MAX_BLOCK for frames in blocks)


def test_pauses_and_soft_noise_leave_the_active_level_as_it_is():
    speech = torch.from_numpy(tone(1.0, 16_000)[:, 0])
    level = active_level(speech)
    assert level == pytest.approx(20 * np.log10(0.8) - 3.01, abs=0.02)
    noise = 0.01 * torch.randn(16_000, generator=torch.Generator().manual_seed(0))
    assert active_level(torch.cat([speech, noise, torch.zeros(48_000)])) == pytest.approx(level, abs=0.02)
    assert active_level(torch.cat([speech, 0.5 * speech])) == pytest.approx(level - 2.04, abs=0.05)
    assert active_level(torch.from_numpy(tone(1.0, 8_000)[:, 0]), 8_000) == pytest.approx(level, abs=0.02)


@given(hnp.arrays(np.float32, st.integers(1, 3000), elements=samples), st.floats(-60, 0))
@settings(deadline=None)
def test_a_level_is_reached_unless_full_scale_or_silence_stands_in_the_way(array: np.ndarray, level: float) -> None:
    wave = torch.from_numpy(array)
    made = at_active_level(wave, level)
    assert len(made) == len(wave) and made.abs().max() <= 1 + 1e-6
    if not wave.any():
        assert torch.equal(made, wave) and active_level(wave) == -np.inf
    elif wave.abs().max() > 1e-20 and made.abs().max() < 0.999:
        assert active_level(made) == pytest.approx(level, abs=0.01)
