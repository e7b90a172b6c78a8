"""What LLMCodec promises, on a tiny random one of each backbone."""

from math import ceil

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmcodec.codec import AudioCodes, join_codes, model, streaming
from llmcodec.errors import AudioError, ModelError

LENGTHS = [1, 479, 480, 481, 1919, 1920, 16_000, 3_000, 40_001]
some = settings(max_examples=25, derandomize=True)


def same(a, b):
    return torch.equal(a.samples, b.samples) and all(map(torch.equal, a.layers, b.layers))


@pytest.fixture
def short_blocks(monkeypatch):
    """Blocks of 0.48 s, so that short clips cross several."""
    monkeypatch.setattr(streaming, "BLOCK_SECONDS", 0.48)


def test_a_batch_of_n_equals_n_singles(each_codec, sound):
    waves = [sound(length, seed) for seed, length in enumerate(LENGTHS)]
    batch = each_codec.encode(waves)
    assert len(batch) == len(waves) and batch.samples.tolist() == LENGTHS
    decoded = each_codec.decode(batch)
    for number, wave in enumerate(waves):
        single = each_codec.encode(wave)
        assert same(batch[number], single)
        assert torch.allclose(decoded[number], each_codec.decode(single)[0], atol=1e-5)


@some
@given(length=st.integers(1, 48_000), seed=st.integers(0, 9))
def test_what_comes_out_is_as_long_as_what_went_in_and_padding_makes_no_codes(each_codec, sound, length, seed):
    codes = each_codec.encode(sound(length, seed))
    frames = ceil(length / 480)
    assert [layer.shape for layer in codes.layers] == [(1, ceil(frames / stride)) for stride in each_codec.strides]
    for layer, vocabulary in zip(codes.layers, each_codec.vocabularies, strict=True):
        assert layer.min() >= 0 and layer.max() < len(vocabulary)
    (wave,) = each_codec.decode(codes)
    assert wave.shape == (length,) and wave.dtype == torch.float32 and wave.isfinite().all()


@pytest.mark.parametrize("length", [1, 481, 9000])
def test_the_words_nearest_to_its_queries_are_those_of_the_first_layer(each_codec, sound, length):
    queries, layer = each_codec.queries(sound(length)), each_codec.quantizer.layers[0]
    assert torch.equal(layer.nearest(queries[None], layer.table)[0], each_codec.encode(sound(length)).layers[0][0])
    assert torch.allclose(queries.norm(dim=1), torch.ones(len(queries)))


def test_a_sound_uses_several_words_of_each_layer(each_codec, sound):
    for layer in each_codec.encode(sound(48_000)).layers:
        assert len(layer.unique()) > 3


@some
@given(length=st.integers(1, 48_000), cuts=st.lists(st.integers(0, 48_000), max_size=8), seed=st.integers(0, 9))
def test_a_stream_of_any_chunks_equals_the_whole(each_codec, sound, length, cuts, seed):
    wave = sound(length, seed)
    places = [0, *sorted(min(cut, length) for cut in cuts), length]
    chunks = [wave[low:high] for low, high in zip(places, places[1:], strict=False)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "BLOCK_SECONDS", 0.48)
        pieces = list(each_codec.stream_encode(chunks))
    assert len(pieces) >= length // 7680 - 1
    assert same(join_codes(pieces), each_codec.encode(wave))


@some
@given(length=st.integers(1, 48_000), seed=st.integers(0, 9))
def test_a_decoded_stream_equals_the_whole(each_codec, sound, length, seed):
    codes = each_codec.encode(sound(length, seed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "BLOCK_SECONDS", 0.48)
        pieces = list(each_codec.stream_decode(codes))
    assert len(pieces) == ceil(length / 7680)
    assert torch.allclose(torch.cat(pieces), each_codec.decode(codes)[0], atol=1e-5)


def test_long_clips_and_large_batches_are_split_without_a_trace(each_codec, sound, short_blocks, monkeypatch):
    waves = [sound(length, seed) for seed, length in enumerate([40_000, 9_000, 8_000, 7_000, 30_000])]
    whole = each_codec.encode(waves)
    decoded = each_codec.decode(whole)
    monkeypatch.setattr(model, "MAX_BATCH_SECONDS", 1.2)
    split = each_codec.encode(waves)
    assert same(split, whole)
    for one, other in zip(each_codec.decode(split), decoded, strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_rates_and_names_follow_from_the_configuration(each_codec):
    assert (each_codec.sample_rate, each_codec.strides) == (16_000, (4, 2, 1))
    assert each_codec.frame_rate == pytest.approx(100 / 3)
    assert each_codec.tokens_per_second == pytest.approx(100 / 3 * 1.75)
    assert each_codec.layer_names == ("semantic", "coarse", "fine")


@pytest.mark.parametrize(
    ("wave", "reason"),
    [
        (torch.tensor([0.0, float("nan")]), "not finite"),
        (torch.tensor([float("inf")]), "not finite"),
        (torch.zeros(0), "not empty"),
        (torch.zeros(2, 100), r"not \[2, 100\]"),
    ],
)
def test_waves_that_cannot_be_encoded_are_refused(each_codec, sound, wave, reason):
    with pytest.raises(AudioError, match=f"clip 1: .*{reason}"):
        each_codec.encode([sound(100), wave])


@pytest.mark.parametrize(
    ("chunks", "reason"),
    [
        ([], "empty"),
        ([torch.zeros(0)], "empty"),
        ([torch.zeros(5), torch.tensor([float("nan")])], "not finite"),
        ([torch.zeros(1, 5)], r"not \[1, 5\]"),
    ],
)
def test_streams_that_cannot_be_encoded_are_refused(each_codec, chunks, reason):
    with pytest.raises(AudioError, match=reason):
        list(each_codec.stream_encode(chunks))


def test_codes_of_another_codec_are_refused(each_codec, sound):
    codes = each_codec.encode(sound(10_000))
    semantic, coarse, fine = codes.layers
    wrong = {
        "2 layers, the codec has 3": (semantic, coarse),
        "layer 0 of the codes has a code outside 0 to 39": (semantic + 40, coarse, fine),
        "layer 1 of the codes has a code outside": (semantic, coarse - 99, fine),
        "layer 2 of the codes does not have one code for every 1 frames": (semantic, coarse, fine[:, 1:]),
    }
    for message, layers in wrong.items():
        other = AudioCodes(layers, codes.samples)
        with pytest.raises(ModelError, match=message):
            each_codec.decode(other)
        with pytest.raises(ModelError, match=message):
            list(each_codec.stream_decode(other))


@pytest.mark.parametrize("samples", [torch.tensor([0]), torch.tensor([-480]), torch.tensor([[480]])])
def test_codes_of_no_samples_are_refused(each_codec, samples):
    with pytest.raises(ModelError, match="samples"):
        each_codec.decode(AudioCodes((torch.zeros(1, 0).long(),) * 3, samples))


def test_a_decoded_stream_is_of_one_clip(each_codec, sound):
    with pytest.raises(AudioError, match="one clip, not of 2"):
        list(each_codec.stream_decode(each_codec.encode([sound(500), sound(600)])))


@pytest.mark.parametrize("frames", [1, 4, 9, 61, 200])
def test_pieces_of_codes_decode_to_the_whole(each_codec, sound, frames):
    codec = each_codec
    codes = codec.encode(sound(frames * codec.config.frame_samples - 7))
    unit, pieces = codec.config.frames_multiple, []
    for start in range(0, frames, unit):
        layers = tuple(
            row[:, start // stride : -(-min(start + unit, frames) // stride)]
            for row, stride in zip(codes.layers, codec.strides, strict=True)
        )
        end = min((start + unit) * codec.config.frame_samples, int(codes.samples))
        pieces.append(AudioCodes(layers, torch.tensor([end - start * codec.config.frame_samples])))
    waves = list(codec.decode_pieces(pieces))
    sums_up = getattr(codec.decoder, "source", None)  # phases: what floats leave of an amplitude of 0.1
    assert torch.allclose(torch.cat(waves), codec.decode(codes)[0], atol=3e-4 if sums_up else 1e-5)
    assert len(waves) > 1 or frames < 200
    assert list(codec.decode_pieces([])) == []
    with pytest.raises(AudioError, match="whole units"):
        list(codec.decode_pieces([codec.encode(sound(100)), codec.encode(sound(100))]))
