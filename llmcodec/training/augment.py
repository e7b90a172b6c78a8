"""Changes made to training crops as they are drawn. The teachers' features stay those of the clean clip, so the words
learn not to mind; the sound to reproduce is the changed one or, of kinds in `Data.restore`, the clean one.

What changes the features' timing or content (speed, mixtures) is in the cache's copies instead, with features of its
own: see `cache.mix_and_stretch`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.signal import butter, fftconvolve, sosfilt

from llmcodec.training.cache import SAMPLE_RATE
from llmcodec.training.recipe import Data

Wave = npt.NDArray[np.float32]
SNR_DB = (5.0, 30.0)
DECAY_SECONDS = (0.1, 0.6)  # of the reverberation, to -60 dB
CUTOFF_HZ = (2000.0, 7000.0)


def augment(wave: Wave, kind: str, data: Data, random: np.random.Generator) -> tuple[Wave, Wave]:
    """wave [T] -> a changed one of the same length, and the sound to reproduce, within [-1, 1]; each change comes with
    its own probability."""
    clean = wave
    if random.random() < data.reverb:
        wave = reverberate(wave, random)
    if random.random() < data.noise:
        wave = add_noise(wave, random)
    if random.random() < data.band_limit:
        wave = band_limit(wave, random)
    target = clean if kind in data.restore else wave
    gain = np.float32(10 ** (random.uniform(-data.gain_db, data.gain_db) / 20))
    gain /= max(np.float32(1.0), gain * np.abs([wave, target]).max(initial=0.0))
    return gain * wave, gain * target


def reverberate(wave: Wave, random: np.random.Generator) -> Wave:
    """A room of noise that decays exponentially, behind the direct sound and as loud or softer."""
    decay = random.uniform(*DECAY_SECONDS)
    time = np.arange(int(decay * SAMPLE_RATE)) / SAMPLE_RATE
    room = random.standard_normal(len(time)) * 10 ** (-3 * time / decay)
    room *= 10 ** (-random.uniform(0, 15) / 20) / np.sqrt(np.sum(room**2))
    return wave + fftconvolve(wave, room)[: len(wave)].astype(np.float32)


def add_noise(wave: Wave, random: np.random.Generator) -> Wave:
    """Noise between white and brown, 5 to 30 dB below the sound."""
    spectrum = np.fft.rfft(random.standard_normal(len(wave)))
    spectrum *= (1 + np.arange(len(spectrum))) ** -random.uniform(0, 1)
    noise = np.fft.irfft(spectrum, len(wave))
    level = np.sqrt(np.mean(wave**2) / (np.mean(noise**2) + 1e-12)) * 10 ** (-random.uniform(*SNR_DB) / 20)
    return wave + (level * noise).astype(np.float32)


def band_limit(wave: Wave, random: np.random.Generator) -> Wave:
    """Fourth-order low pass at 2 to 7 kHz, like telephones and old recordings."""
    filters = butter(4, random.uniform(*CUTOFF_HZ), fs=SAMPLE_RATE, output="sos")
    return sosfilt(filters, wave).astype(np.float32)
