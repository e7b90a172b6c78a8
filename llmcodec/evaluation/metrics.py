"""Numbers and their uncertainty: accuracy, codebook use, sound quality, word errors."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.codec.codes import PADDING
from llmcodec.codec.mel import mel_filterbank
from llmcodec.errors import ConfigError, ModelError

Z95 = 1.959963984540054
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Accuracy:
    """`correct` of `n`, and the Wilson interval that holds the true accuracy in 95 % of such measurements."""

    correct: int
    n: int
    accuracy: float
    low: float
    high: float

    @classmethod
    def of(cls, outcomes: Iterable[bool]) -> Accuracy:
        """ConfigError if there are no outcomes."""
        hits = [bool(outcome) for outcome in outcomes]
        return cls(sum(hits), len(hits), sum(hits) / max(1, len(hits)), *wilson(sum(hits), len(hits)))


def wilson(correct: int, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson score interval of a share, each end in 0..1. ConfigError unless 0 <= correct <= n and n >= 1."""
    if not 0 <= correct <= n or n < 1:
        raise ConfigError(f"no accuracy of {correct} correct among {n}; at least one outcome is needed")
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, min(share, centre - half)), min(
        1.0, max(share, centre + half)
    )  # rounding never shuts the share out


def mcnemar(one: Sequence[bool], other: Sequence[bool]) -> tuple[int, int, float]:
    """Two methods on the same queries: how often only the one, only the other was right, and the probability of a
    difference as large between equally good methods (exact McNemar test, two-sided)."""
    from scipy.stats import binomtest

    first = sum(a and not b for a, b in zip(one, other, strict=True))
    second = sum(b and not a for a, b in zip(one, other, strict=True))
    return first, second, float(binomtest(first, first + second).pvalue) if first + second else 1.0


def calibration_error(confidence: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017): the gap between the probability of the answer and how often it is
    right, averaged over `bins` equally wide ranges of probability by how many answers they hold.

    confidence: [N], 0..1; right: [N], true or false.
    """
    found, hits = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    places = np.minimum((found * bins).astype(int), bins - 1)
    gaps = np.bincount(places, weights=found - hits, minlength=bins)
    return float(np.abs(gaps).sum() / len(found))


@dataclass(frozen=True)
class Interval:
    """A statistic and its 95 % bootstrap interval over `n` clips."""

    value: float
    low: float
    high: float
    n: int


def bootstrap(
    rows: npt.ArrayLike, seed: int, statistic: Callable[[Floats], Floats] | None = None, rounds: int = 2000
) -> Interval:
    """Percentile bootstrap over clips.

    rows: one number, or [k] numbers, per clip. statistic: sums of the resampled rows [rounds, k] -> [rounds], default
    the mean of the first column. Rows that are not finite are left out; with none left all values are NaN.
    """
    table = np.asarray(rows, dtype=np.float64)
    table = table.reshape(len(table), -1)
    table = table[np.isfinite(table).all(1)]
    n = len(table)
    if not n:
        return Interval(math.nan, math.nan, math.nan, 0)
    measure = statistic or (lambda sums: sums[:, 0] / n)
    random = np.random.default_rng(seed)
    sums = np.stack([table[random.integers(0, n, n)].sum(0) for _ in range(rounds)])
    low, high = np.percentile(measure(sums), [2.5, 97.5])
    return Interval(float(measure(table.sum(0)[None])[0]), float(low), float(high), n)


@dataclass(frozen=True)
class CodebookUse:
    """How much of a layer's vocabulary the codes use.

    words: size V of the vocabulary; different: words that occur; codes: how many codes were counted; bits: entropy of
    the words; bound: log2 V, the largest entropy there can be; share: bits / bound.
    """

    layer: str
    words: int
    different: int
    codes: int
    bits: float
    bound: float
    share: float

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def codebook_use(codec: LLMCodec, codes: Iterable[AudioCodes]) -> list[CodebookUse]:
    """Use of every layer over all given codes. ConfigError if there are none."""
    counts = [torch.zeros(len(vocabulary), dtype=torch.long) for vocabulary in codec.vocabularies]
    for batch in codes:
        for count, layer in zip(counts, batch.layers, strict=True):
            count += torch.bincount(layer[layer != PADDING], minlength=len(count))
    return [_use(name, count) for name, count in zip(codec.layer_names, counts, strict=True)]


def _use(layer: str, counts: Tensor) -> CodebookUse:
    total = int(counts.sum())
    if not total:
        raise ConfigError(f"layer {layer}: no codes to count; at least one clip is needed")
    shares = counts[counts > 0].double() / total
    bits, bound = max(0.0, float(-(shares * shares.log2()).sum())), math.log2(len(counts))
    return CodebookUse(layer, len(counts), len(shares), total, bits, bound, bits / bound if bound else 1.0)


def stoi(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Short-time objective intelligibility of waveforms [T], about 0..1; NaN for less than 0.4 s of speech."""
    try:
        from pystoi import stoi as measure
    except ImportError as error:
        raise _missing("STOI", "pystoi") from error
    if len(reference) < 0.4 * sample_rate:  # on very few samples pystoi fails
        return math.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # its way to say: too few frames
        try:
            return float(measure(reference.numpy(), estimate.numpy(), sample_rate, extended=False))
        except RuntimeWarning:
            return math.nan


def pesq(reference: Tensor, estimate: Tensor, sample_rate: int, band: str = "wb") -> float:
    """PESQ of waveforms [T] at 16 kHz, wide band (1.0..4.64) or, with "nb", narrow band (1.0..4.55); NaN where it finds
    no speech or the clip is too short."""
    try:
        from pesq import PesqError
        from pesq import pesq as measure
    except ImportError as error:
        raise _missing("PESQ", "pesq") from error
    try:
        return float(measure(sample_rate, reference.numpy(), estimate.numpy(), band))
    except PesqError:
        return math.nan


def si_sdr(reference: Tensor, estimate: Tensor) -> float:
    """Scale-invariant signal-to-distortion ratio of waveforms [T] in dB; NaN for a silent reference."""
    reference, estimate = reference.double() - reference.double().mean(), estimate.double() - estimate.double().mean()
    energy = reference.square().sum()
    if not energy:
        return math.nan
    target = (estimate @ reference) / energy * reference
    return float(10 * torch.log10(target.square().sum() / (estimate - target).square().sum().clamp(min=1e-12)))


def mel_distance(reference: Tensor, estimate: Tensor, sample_rate: int) -> float:
    """Mean absolute difference in dB of 80 mel energies, 64 ms frames every 16 ms, floored at -80 dB full scale."""
    size, hop = round(0.064 * sample_rate), round(0.016 * sample_rate)
    window, weights = torch.hann_window(size), mel_filterbank(80, size, sample_rate)

    def decibels(wave: Tensor) -> Tensor:
        padded = torch.nn.functional.pad(wave.float(), (size // 2, size // 2))
        spectrum = torch.stft(padded, size, hop, window=window, center=False, return_complex=True) / window.sum()
        return 10 * torch.log10((spectrum.abs().square().T @ weights).clamp(min=1e-8))

    return float((decibels(reference) - decibels(estimate)).abs().mean())


def stft_distance(reference: Tensor, estimate: Tensor) -> float:
    """Mean absolute difference in dB of STFT magnitudes of waveforms [T], windows of 512, 1024 and 2048, floored at -80
    dB full scale."""
    found = []
    for size in (512, 1024, 2048):
        window = torch.hann_window(size)
        both = torch.nn.functional.pad(torch.stack([reference, estimate]).float(), (size // 2, size // 2))
        spectra = torch.stft(both, size, size // 4, window=window, center=False, return_complex=True) / window.sum()
        first, second = 20 * torch.log10(spectra.abs().clamp(min=1e-4))
        found.append(float((first - second).abs().mean()))
    return sum(found) / len(found)


def dnsmos(wave: Tensor, sample_rate: int) -> float:
    """DNSMOS P.835 overall quality of a waveform [T] at 16 kHz, 1..5, without a reference (Reddy et al. 2022)."""
    try:
        from speechmos import dnsmos as measure
    except ImportError as error:
        raise _missing("DNSMOS", "speechmos") from error
    peak = float(wave.abs().max())
    return float(measure.run((wave / max(1.0, peak)).numpy(), sample_rate)["ovrl_mos"])


def speaker_similarity(reference: Tensor, estimate: Tensor) -> float:
    """Cosine of the speaker embeddings of two waveforms [T] at 16 kHz, 0..1 (Wan et al. 2018, by Resemblyzer)."""
    encoder = _speaker_encoder()
    return float(encoder.embed_utterance(reference.numpy()) @ encoder.embed_utterance(estimate.numpy()))


@cache
def _speaker_encoder() -> Any:
    try:
        from resemblyzer import VoiceEncoder
    except ImportError as error:
        raise ModelError("speaker similarity needs the package resemblyzer") from error
    return VoiceEncoder("cpu", verbose=False)


def normalise_text(text: str) -> str:
    """Lower case, no punctuation, contractions written out, numbers as digits: what Whisper's authors compare."""
    from transformers.models.whisper.english_normalizer import EnglishTextNormalizer

    return str(EnglishTextNormalizer({})(text))


def word_errors(references: Sequence[str], hypotheses: Sequence[str]) -> Floats:
    """Word errors and words of each reference, after `normalise_text`: [N, 2]. WER is the ratio of their sums."""
    try:
        import jiwer
    except ImportError as error:
        raise _missing("word error rates", "jiwer") from error
    rows = []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        wanted, heard = normalise_text(reference), normalise_text(hypothesis)
        if not wanted:  # jiwer refuses it; every word heard is an insertion
            rows.append((len(heard.split()), 0))
            continue
        found = jiwer.process_words(wanted, heard)
        rows.append((found.substitutions + found.deletions + found.insertions, len(wanted.split())))
    return np.array(rows, dtype=np.float64).reshape(-1, 2)


def word_error_rate(errors: Floats, seed: int) -> Interval:
    """The ratio of the sums of errors and words [N, 2], see `word_errors`, with its bootstrap over clips."""
    return bootstrap(errors, seed, lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1))


def _missing(what: str, package: str) -> ModelError:
    return ModelError(f"{what} needs {package}: pip install 'llmcodec[eval]'")
