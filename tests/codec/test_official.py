"""The published checkpoint: reference vectors where $LLMCODEC_REFERENCE names their folder, invariants everywhere."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from llmcodec.codec import ConvConfig, LLMCodec
from llmcodec.codec.official import codec_from_state, load_official_checkpoint
from llmcodec.errors import ModelError

REFERENCE = Path(os.environ.get("LLMCODEC_REFERENCE", "does-not-exist"))
with_reference = pytest.mark.skipif(not REFERENCE.is_dir(), reason="LLMCODEC_REFERENCE names no folder")


def random_state(noise=True, projected=True, depthwise=True, rows=(30, 50, 50), width=24):
    """Random tensors under the published names: encoder 4, strides 3 4 5 8, latent 64, decoder 128."""
    generator = torch.Generator().manual_seed(3)
    state = {}

    def put(name, *shape):
        state[name] = torch.randn(shape, generator=generator) * 0.3

    def conv(name, out, into, kernel, bias=True, transposed=False):
        state[f"{name}.weight_g"] = torch.rand(into if transposed else out, 1, 1, generator=generator) + 0.5
        put(f"{name}.weight_v", *((into, out) if transposed else (out, into)), kernel)
        if bias:
            put(f"{name}.bias", out)

    def unit(name, channels):
        for place in (0, 2):
            state[f"{name}.block.{place}.alpha"] = torch.ones(1, channels, 1)
        conv(f"{name}.block.1", channels, 1 if depthwise else channels, 7)
        conv(f"{name}.block.3", channels, channels, 1)

    def attention(name, channels):
        put(f"{name}.norm.weight", channels)
        put(f"{name}.norm.bias", channels)
        put(f"{name}.to_qkv.weight", 3 * channels, channels)
        put(f"{name}.rel_pos.inv_freq", 32)
        put(f"{name}.to_out.weight", channels, channels)

    conv("encoder.block.0", 4, 1, 7)
    for number, stride in enumerate((3, 4, 5, 8)):
        name, channels = f"encoder.block.{number + 1}", 4 << number
        for place in range(3):
            unit(f"{name}.block.{place}", channels)
        state[f"{name}.block.3.alpha"] = torch.ones(1, channels, 1)
        conv(f"{name}.block.4", 2 * channels, channels, 2 * stride)
    attention("encoder.block.5", 64)
    conv("encoder.block.6", 64, 1 if depthwise else 64, 7)
    for number, count in enumerate(rows):
        name = f"quantizer.quantizers.{number}"
        put(f"{name}.codebook.weight", count, width)
        if projected:
            put(f"{name}.cb_proj.weight", 64, width)
            put(f"{name}.cb_proj.bias", 64)
        else:
            conv(f"{name}.in_proj", width, 64, 1)
            conv(f"{name}.out_proj", 64, width, 1)
    if depthwise:
        conv("decoder.model.0", 64, 1, 7)
        conv("decoder.model.1", 128, 64, 1)
    else:
        conv("decoder.model.0", 128, 64, 7)
    at = 2 if depthwise else 1
    attention(f"decoder.model.{at}", 128)
    for number, stride in enumerate((8, 5, 4, 3)):
        name, channels = f"decoder.model.{at + 1 + number}", 128 >> number
        state[f"{name}.block.0.alpha"] = torch.ones(1, channels, 1)
        conv(f"{name}.block.1", channels // 2, channels, 2 * stride, transposed=True)
        if noise:
            conv(f"{name}.block.2.linear", channels // 2, channels // 2, 1, bias=False)
        for place in range(3):
            unit(f"{name}.block.{place + (3 if noise else 2)}", channels // 2)
    state[f"decoder.model.{at + 5}.alpha"] = torch.ones(1, 8, 1)
    conv(f"decoder.model.{at + 6}", 1, 8, 7)
    return state


def distance(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@with_reference
@pytest.mark.parametrize("case", ["noise", "nonoise", "nocblinear"])
def test_the_reference_vectors_are_reproduced(case):
    tensors = load_file(REFERENCE / f"official_small_{case}.safetensors")
    codec = codec_from_state({name[6:]: value for name, value in tensors.items() if name.startswith("state/")})
    codes = codec.encode_codes(tensors["input/audio"])
    for number, layer in enumerate(codes):
        assert torch.equal(layer, tensors[f"output/code_{number}"])
    latent = codec.quantizer.decode(codes, 24).transpose(1, 2)
    assert distance(latent, tensors.get("output/z_q", latent)) < 1e-5
    draws = [tensors[f"noise/{number}"] for number in range(4)] if case == "noise" else None
    wave = codec.decode_codes(codes, draws)
    wanted = tensors.get("output/audio_from_codes", tensors.get("output/audio_from_z_q"))
    assert distance(wave, wanted) < 5e-5
    assert (wave - wanted).abs().max() < 2e-4
    if case == "noise":
        assert torch.equal(codec.decode_codes(codes, generator=torch.Generator().manual_seed(1234)), wave)
        silent = codec.decode_codes(codes, [torch.zeros_like(draw) for draw in draws])
        assert distance(silent, tensors["output/audio_zero_noise"]) < 5e-5


@with_reference
def test_the_published_container_is_read_and_converted(tmp_path):
    words = [f"word{number}" for number in range(200)]
    codec = load_official_checkpoint(REFERENCE / "official_small.pth", words)
    tensors = load_file(REFERENCE / "official_small_noise.safetensors")
    audio = tensors["input/audio"]
    assert torch.equal(codec.encode_codes(audio)[0], tensors["output/code_0"])
    assert codec.vocabularies[0].words == tuple(words)
    codec.save_checkpoint(tmp_path / "codec", torch.float32)
    again = LLMCodec.from_pretrained(tmp_path / "codec")
    found = again.encode(list(audio[:, 0]))
    assert [layer.shape[1] for layer in found.layers] == [5, 10, 19]  # 9000 samples are 19 frames
    assert torch.equal(found.layers[2], tensors["output/code_2"][:, :19])


@pytest.mark.parametrize("options", [{}, {"noise": False}, {"projected": False}, {"depthwise": False}], ids=str)
def test_padded_codes_are_those_of_whole_windows_and_begin_with_the_trimmed(options, sound):
    codec = codec_from_state(random_state(**options))
    wave = torch.stack([sound(16_000), sound(16_000, 1)])[:, None]
    padded = codec.encode_codes(wave)
    assert [layer.shape for layer in padded] == [(2, 10), (2, 20), (2, 40)]
    for layer, full, count in zip(codec.encode_codes(wave, padded=False), padded, (9, 17, 34), strict=True):
        assert torch.equal(layer, full[:, :count])
    assert torch.equal(codec.encode(list(wave[:, 0])).layers[1], padded[1][:, :17])
    assert codec.decode_codes(padded).shape == (2, 1, 19_200)


def test_decoding_draws_noise_as_published_and_decode_does_not(sound):
    codec = codec_from_state(random_state())
    codes = codec.encode_codes(sound(3840)[None, None])
    torch.manual_seed(5)
    first, second = codec.decode_codes(codes), codec.decode_codes(codes)
    torch.manual_seed(5)
    assert torch.equal(codec.decode_codes(codes), first)
    assert not torch.equal(first, second)
    ours = codec.encode(sound(3840))
    assert torch.equal(codec.decode(ours)[0], codec.decode(ours)[0])


def test_a_table_is_projected_whatever_its_precision_and_kept_without_the_language_models_rows():
    state = random_state()
    codec = codec_from_state(state | {name: v.half() for name, v in state.items() if "codebook" in name})
    name = "quantizer.quantizers.1"
    rows = state[f"{name}.codebook.weight"].half().float()
    wanted = rows @ state[f"{name}.cb_proj.weight"].T + state[f"{name}.cb_proj.bias"]
    assert torch.allclose(codec.quantizer.layers[1].table, wanted, atol=1e-5)
    assert not any(value.shape[-1] == 24 for value in codec.state_dict().values())


def test_codes_of_no_whole_window_are_refused(sound):
    codec = codec_from_state(random_state())
    with pytest.raises(ModelError, match=r"codes of 3, 5, 9 per layer .* windows of 8 frames, 2 \+ 4 \+ 8 codes each"):
        codec.decode_codes([torch.zeros(1, count).long() for count in (3, 5, 9)])
    with pytest.raises(ModelError, match=r"\[B, 1, samples\]"):
        codec.encode_codes(sound(100))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda s: s.pop("encoder.block.0.weight_g"), "no tensor encoder.block.0.weight_g"),
        (lambda s: s.pop("decoder.model.1.weight_g"), "no tensor decoder.model.1.weight_g"),
        (lambda s: s.pop("quantizer.quantizers.2.codebook.weight"), "no tensor quantizer.*2.codebook.weight"),
        (lambda s: s.update(extra=torch.zeros(1)), "1 tensors have unknown names, such as extra"),
        (
            lambda s: s.update({"encoder.block.6.bias": torch.zeros(3)}),
            r"shape \[3\] of encoder.last.bias is not \[64\]",
        ),
    ],
)
def test_a_state_that_is_not_the_published_one_is_refused_by_name(change, reason):
    state = random_state()
    change(state)
    with pytest.raises(ModelError, match=reason):
        codec_from_state(state)


def test_words_must_be_as_many_as_rows():
    with pytest.raises(ModelError, match="2 words were given for layer 0, whose table has 30 rows"):
        codec_from_state(random_state(), ["a", "b"])


class Harmful:
    def __reduce__(self):
        return os.mkdir, (os.environ["HARM"],)


@pytest.mark.parametrize("content", ["pickle", "harmful", "cut", "empty", "other", "no dictionary"])
def test_files_that_are_no_checkpoint_are_refused_in_one_line_and_nothing_in_them_is_run(
    content, tmp_path, monkeypatch
):
    path, harm = tmp_path / "model.pth", tmp_path / "harm"
    monkeypatch.setenv("HARM", str(harm))
    if content == "pickle":
        path.write_bytes(pickle.dumps({"codec_model": {}}))
    elif content == "empty":
        path.write_bytes(b"")
    elif content == "no dictionary":
        torch.save([1, 2], path)
    else:
        torch.save({"codec_model": Harmful()} if content == "harmful" else {"model": {}}, path)
    if content == "cut":
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ModelError, match="not a checkpoint of the published codec") as caught:
        load_official_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not harm.exists()


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match="gone.pth"):
        load_official_checkpoint(tmp_path / "gone.pth")


def test_sizes_come_from_the_tensors():
    net = codec_from_state(random_state(noise=False, depthwise=False)).config.backbone
    assert net == ConvConfig(encoder_width=4, decoder_width=128, depthwise=False, noise=False)
