import pytest
import torch

from llmcodec.codec.onnx import export_onnx
from llmcodec.errors import ConfigError, ModelError

runtime = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def graphs(tiny_codec, tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx") / "codec"
    export_onnx(tiny_codec, folder)
    return [runtime.InferenceSession(folder / f"{name}.onnx") for name in ("encoder", "decoder")]


@pytest.mark.parametrize(("clips", "units"), [(1, 1), (1, 7), (3, 2), (2, 60)])
def test_graphs_say_what_the_codec_says(tiny_codec, graphs, sound, clips, units):
    encoder, decoder = graphs
    waves = torch.stack([sound(units * tiny_codec.config.unit_samples, seed) for seed in range(clips)])
    found = encoder.run(None, {"wave": waves.numpy()})
    wanted = tiny_codec.encode(list(waves))
    assert [value.name for value in encoder.get_outputs()] == list(tiny_codec.layer_names)
    for codes, layer in zip(found, wanted.layers, strict=True):
        assert torch.equal(torch.from_numpy(codes), layer)
    (made,) = decoder.run(None, dict(zip(tiny_codec.layer_names, found, strict=True)))
    assert made.shape == waves.shape
    assert torch.allclose(torch.from_numpy(made), torch.stack(tiny_codec.decode(wanted)), atol=3e-4)  # phases sum up


def test_nothing_is_replaced_and_nothing_half_made_is_left(tiny_codec, tmp_path, conv_codec):
    with pytest.raises(ConfigError, match="exists already"):
        export_onnx(tiny_codec, tmp_path)
    with pytest.raises(ModelError, match="not conv"):
        export_onnx(conv_codec, tmp_path / "codec")
    assert not list(tmp_path.iterdir())
