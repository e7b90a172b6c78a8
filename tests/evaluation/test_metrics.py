import math
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmcodec.codec import AudioCodes
from llmcodec.errors import ConfigError, ModelError
from llmcodec.evaluation.metrics import (
    Accuracy,
    bootstrap,
    calibration_error,
    codebook_use,
    mcnemar,
    mel_distance,
    normalise_text,
    pesq,
    si_sdr,
    stoi,
    wilson,
    word_error_rate,
    word_errors,
)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662)],
)
def test_wilson_known_values(correct, n, low, high):  # the last: Newcombe (1998), table I
    assert wilson(correct, n) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 1000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(pair):
    correct, n = pair
    low, high = wilson(correct, n)
    assert 0 <= low <= correct / n <= high <= 1
    assert wilson(n - correct, n) == pytest.approx((1 - high, 1 - low))


def test_accuracy():
    found = Accuracy.of([True, False, True, True])
    assert (found.correct, found.n, found.accuracy) == (3, 4, 0.75)
    with pytest.raises(ConfigError, match="at least one outcome"):
        Accuracy.of([])


def test_bootstrap():
    values = np.random.default_rng(0).normal(3.0, 1.0, 400)
    found = bootstrap([*values, math.nan], seed=1)
    assert found.n == 400 and found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 / 20, rel=0.15)
    assert found == bootstrap([*values, math.nan], seed=1)
    assert math.isnan(bootstrap([math.nan], seed=1).value)
    ratio = bootstrap([[1, 4], [0, 4]], 0, lambda sums: sums[:, 0] / sums[:, 1])
    assert (ratio.value, ratio.low, ratio.high) == (0.125, 0.0, 0.25)


def test_codebook_use_counts_codes_and_no_padding(codec):
    even = torch.arange(32)[None]
    lone = torch.full((1, 32), -1)
    lone[0, 0] = 5
    codes = AudioCodes((even, lone, torch.tensor([[1, 1, 2, 2] * 8])), torch.tensor([480]))
    semantic, coarse, fine = codebook_use(codec, [codes, codes])
    assert (semantic.different, semantic.codes, semantic.share) == (32, 64, pytest.approx(1.0))
    assert (coarse.different, coarse.codes, coarse.bits) == (1, 2, 0.0)
    assert (fine.bits, fine.bound, fine.share) == (pytest.approx(1.0), 5.0, pytest.approx(0.2))
    with pytest.raises(ConfigError, match="no codes"):
        codebook_use(codec, [])


def noise(seconds=1.0):
    return torch.randn(int(16_000 * seconds), generator=torch.Generator().manual_seed(3)) * 0.1


def test_si_sdr_ignores_scale_and_knows_decibels():
    wave = noise()
    other = torch.randn(len(wave), generator=torch.Generator().manual_seed(4)) * 0.01
    assert si_sdr(wave, 3 * (wave + other)) == pytest.approx(20, abs=0.2)
    assert math.isnan(si_sdr(torch.zeros(100), torch.ones(100)))


def test_mel_distance():
    wave = noise(0.3)
    assert mel_distance(wave, wave, 16_000) == 0
    assert mel_distance(wave, wave / 10, 16_000) == pytest.approx(20, abs=0.5)
    assert mel_distance(wave[:1], wave[:1], 16_000) == 0


def test_stoi_and_pesq():
    wave = noise(1.5)
    pytest.importorskip("pystoi")
    assert stoi(wave, wave, 16_000) == pytest.approx(1.0)
    assert math.isnan(stoi(wave[:2000], wave[:2000], 16_000)) and math.isnan(stoi(wave[:1], wave[:1], 16_000))
    pytest.importorskip("pesq")
    assert pesq(wave, wave, 16_000) > 4
    assert math.isnan(pesq(torch.zeros(16_000), wave[:16_000], 16_000))
    assert math.isnan(pesq(wave[:100], wave[:100], 16_000))


def test_word_errors():
    pytest.importorskip("jiwer")
    assert normalise_text("It's twenty-one, Mr. Smith!") == "it is 21 mister smith"
    found = word_errors(["The dog's bark.", "", "stop"], ["a dog is barking", "uh so", ""])
    assert found.tolist() == [[2, 4], [1, 0], [1, 1]]
    rate = word_error_rate(found, seed=0)
    assert (rate.value, rate.n) == (pytest.approx(4 / 5), 3) and rate.low <= rate.value <= rate.high


@pytest.mark.parametrize(
    ("package", "call"),
    [
        ("pystoi", lambda: stoi(noise(), noise(), 16_000)),
        ("pesq", lambda: pesq(noise(), noise(), 16_000)),
        ("jiwer", lambda: word_errors(["a"], ["a"])),
    ],
)
def test_a_missing_package_is_named_with_its_extra(monkeypatch, package, call):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ModelError, match=rf"needs {package}: pip install 'llmcodec\[eval\]'"):
        call()


def test_mcnemar_counts_where_only_one_is_right():
    one, other = [True] * 12 + [False] * 3, [True] * 2 + [False] * 10 + [True] * 1 + [False] * 2
    assert mcnemar(one, other) == (10, 1, pytest.approx(2 * (1 + 11) / 2**11))
    assert mcnemar(one, one) == (0, 0, 1.0)


def test_calibration_error_is_the_gap_between_probability_and_share():
    assert calibration_error([0.75] * 4, [True, True, True, False]) == pytest.approx(0)
    assert calibration_error([1.0, 1.0, 0.5, 0.55], [True, False, True, True]) == pytest.approx(
        (2 * 0.5 + 2 * 0.475) / 4
    )
