import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import ModelCard

from llmcodec.codec import CodecConfig, LayerConfig, LLMCodec
from llmcodec.errors import ModelError
from llmcodec.llm import FakeLLM


@pytest.fixture
def folder(tiny_codec, tmp_path):
    tiny_codec.save_checkpoint(tmp_path / "codec")
    return tmp_path / "codec"


def same(a, b):
    return torch.equal(a.samples, b.samples) and all(map(torch.equal, a.layers, b.layers))


def test_a_checkpoint_gives_the_same_codes_after_one_round_trip(each_codec, sound, tmp_path):
    folder = tmp_path / "codec"
    each_codec.save_checkpoint(folder)
    once = LLMCodec.from_pretrained(folder)
    assert once.config == each_codec.config and once.vocabularies == each_codec.vocabularies
    assert not once.training and all(value.dtype == torch.float32 for value in once.state_dict().values())
    once.save_checkpoint(tmp_path / "again" / "codec")
    twice = LLMCodec.from_pretrained(str(tmp_path / "again" / "codec"))
    waves = [sound(30_000), sound(7_000, 1)]
    assert same(once.encode(waves), twice.encode(waves))
    for one, other in zip(once.decode(once.encode(waves)), twice.decode(twice.encode(waves)), strict=True):
        assert torch.equal(one, other)


def test_a_checkpoint_replaces_the_one_before_and_leaves_nothing_else(folder, new_codec):
    other = new_codec(5)
    other.save_checkpoint(folder)
    assert [entry.name for entry in folder.parent.iterdir()] == ["codec"]
    assert sorted(entry.name for entry in folder.iterdir()) == ["config.json", "model.safetensors", "words"]
    assert torch.equal(LLMCodec.from_pretrained(folder).decoder.embed.bias, other.decoder.embed.bias.half().float())


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(folder, new_codec, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(ModelError, match="codec: cannot be written: No space left"):
        new_codec(5).save_checkpoint(folder)
    assert [entry.name for entry in folder.parent.iterdir()] == ["codec"]
    LLMCodec.from_pretrained(folder)


def test_a_codec_goes_to_the_hub_with_a_card(tiny_codec, tmp_path, monkeypatch):
    class Hub:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return SimpleNamespace(repo_id=repo_id)

        def upload_folder(self, folder_path, repo_id, **_):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
            return f"hub/{repo_id}"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Hub)
    about = {"training_data": "Bells, CC0.", "license": "cc-by-4.0"}
    assert tiny_codec.push_to_hub("me/codec", model_card_kwargs=about) == "hub/me/codec"
    folder = tmp_path / "hub" / "me" / "codec"
    assert LLMCodec.from_pretrained(folder).vocabularies == tiny_codec.vocabularies
    card = ModelCard.load(folder / "README.md")
    assert (card.data.library_name, card.data.license) == ("llmcodec", "cc-by-4.0")
    assert 'LLMCodec.from_pretrained("me/codec")' in card.text and "Bells, CC0." in card.text
    assert all(f"| {name} | {tiny_codec.frame_rate / stride:.1f} | " in card.text
               for name, stride in zip(tiny_codec.layer_names, tiny_codec.strides, strict=True))  # fmt: skip
    tiny_codec.save_pretrained(tmp_path / "plain")
    assert "Not stated" in ModelCard.load(tmp_path / "plain" / "README.md").text


def test_no_special_token_is_a_word_of_the_codec(tiny_codec):
    llm = FakeLLM()
    for vocabulary in tiny_codec.vocabularies:
        ids = vocabulary.token_ids(llm)
        assert len(set(ids)) == len(ids) and llm.bos_id not in ids and min(ids) > 256


def damage(folder, kind):
    config, weights, words = folder / "config.json", folder / "model.safetensors", folder / "words" / "coarse.txt"
    values = json.loads(config.read_text())
    if kind == "config gone":
        config.unlink()
    elif kind == "config cut":
        config.write_text(config.read_text()[:40])
    elif kind == "config is a list":
        config.write_text("[]")
    elif kind == "unknown field":
        config.write_text(json.dumps({**values, "colour": 1}))
    elif kind == "unknown backbone":
        config.write_text(json.dumps({**values, "backbone": {"kind": "magic"}}))
    elif kind == "layer without stride":
        del values["layers"][0]["stride"]
        config.write_text(json.dumps(values))
    elif kind == "other width":
        config.write_text(json.dumps({**values, "latent_dim": 17}))
    elif kind == "weights gone":
        weights.unlink()
    elif kind == "weights cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "words gone":
        words.unlink()
    elif kind == "words short":
        words.write_text("one\ntwo\n")
    elif kind == "words twice":
        words.write_text("one\none\n")
    elif kind == "words empty":
        words.write_text("")
    elif kind == "words no text":
        words.write_bytes(b"\xff\xfe")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("config gone", "No such file"),
        ("config cut", "config.json is not that of a codec"),
        ("config is a list", "config.json is not that of a codec"),
        ("unknown field", "has no field colour"),
        ("unknown backbone", "backbone.kind: 'magic' is not one of spectral, conv"),
        ("layer without stride", "stride"),
        ("other width", "not a codec checkpoint"),
        ("weights gone", "No such file"),
        ("weights cut", "not a codec checkpoint"),
        ("words gone", "coarse.txt"),
        ("words short", "not a codec checkpoint"),
        ("words twice", "must differ; twice: one"),
        ("words empty", "at least one word"),
        ("words no text", "not a codec checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(folder, kind, reason):
    damage(folder, kind)
    with pytest.raises(ModelError, match=reason) as caught:
        LLMCodec.from_pretrained(folder)
    assert "\n" not in str(caught.value) and "codec" in str(caught.value)


def test_a_codec_that_is_nowhere_is_named(monkeypatch):
    def no_hub(*_, **__):
        raise ConnectionError("no route\nto the hub")

    monkeypatch.setattr("llmcodec.codec.model.snapshot_download", no_hub)
    with pytest.raises(ModelError, match="'some/codec' is neither a folder nor to be had from the hub: no route$"):
        LLMCodec.from_pretrained("some/codec")


def test_layers_that_contradict_each_other_are_refused(tiny_codec):
    context = LayerConfig("a", 4, 8, from_context=True)
    with pytest.raises(ModelError, match="at most one layer"):
        CodecConfig(layers=(context, LayerConfig("b", 4, 8, from_context=True)))
    with pytest.raises(ModelError, match="different names"):
        CodecConfig(layers=(context, LayerConfig("a", 2, 8)))
    with pytest.raises(ModelError, match="3 layers need as many vocabularies, not 1"):
        LLMCodec(tiny_codec.config, tiny_codec.vocabularies[:1])
