from pathlib import Path

import pytest

from llmcodec.errors import ConfigError
from llmcodec.training.recipe import Optimiser, Recipe

CONTEXT = "- {name: semantic, stride: 4, lookup_dim: 8, from_context: true}\n"
LAYERS = f"layers:\n{CONTEXT}- {{name: coarse, stride: 2, lookup_dim: 8}}\n"


def read(folder, text):
    path = folder / "recipe.yaml"
    path.write_text(text)
    return Recipe.read(path)


def test_the_recipes_that_come_with_the_package_are_valid():
    recipes = sorted((Path(__file__).parents[2] / "recipes").glob("*.yaml"))
    assert recipes
    for path in recipes:
        assert Recipe.read(path).codec_config().layers


def test_defaults_fill_what_is_not_written(tmp_path):
    recipe = read(tmp_path, LAYERS + "backbone: {mels: 20}\n")
    assert recipe.optimiser == Optimiser() and recipe.codec_config().backbone.mels == 20


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("seed: 1\n", "layers: Field required"),
        (LAYERS + "colour: 1\n", "colour: unknown field; fields are .*optimiser"),
        (LAYERS + "losses: {stfd: 1}\n", "losses.stfd: unknown field; fields are stft, mel"),
        (LAYERS.replace("stride", "step"), "layers.0.step: unknown field; fields are name, stride"),
        (LAYERS + "losses: {mel: -1}\n", "losses.mel: .*greater than or equal to 0"),
        (LAYERS + "optimiser: {mixed_precision: half}\n", "optimiser.mixed_precision: .*pattern"),
        (LAYERS + "data: {crop_seconds: soon}\n", "data.crop_seconds: .*number"),
        (
            LAYERS + "backbone: {depth: 3}\n",
            "backbone: SpectralConfig has no field depth; its fields are kind, fft_size",
        ),
        (LAYERS.replace("stride: 2", "stride: 2, words: {source: mine}"), "layers.1.words.source: .*'whole_words'"),
        ("layers: []\n", "layers: .*at least 1"),
        ("layers:\n" + CONTEXT, "one layer at least must not be from_context"),
        (LAYERS + CONTEXT.replace("semantic", "other"), "only the first can be from_context"),
        (LAYERS.replace("coarse", "semantic"), "need different names"),
        (LAYERS.replace("stride: 2", "stride: 1"), "layers.1.stride: 1 frames of 480 samples are no multiple"),
        (LAYERS.replace(", from_context: true", "") + "prelude: {steps: 9}\n", "prelude.steps: without a layer"),
        (LAYERS + "learns: decoder\n", "learns: a decoder learns from the codes of a codec, which `start` has to name"),
        (LAYERS + "learns: decoder\nstart: a\nprelude: {steps: 9}\n", "learns: .*prelude.steps stay out"),
        (LAYERS + "prelude: {steps: 9}\nlosses: {distillation: 0, semantic: 0}\n", "prelude.steps: needs a weight"),
    ],
)
def test_a_mistake_names_file_and_field(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=f"recipe.yaml: .*{reason}") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)
