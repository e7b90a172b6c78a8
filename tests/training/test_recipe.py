from pathlib import Path

import pytest

from llmcodec.errors import ConfigError
from llmcodec.training.recipe import Optimiser, Recipe

LAYERS = "layers:\n- {name: semantic, stride: 4, lookup_dim: 8, from_context: true}\n"


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
    ],
)
def test_a_mistake_names_file_and_field(tmp_path, text, reason):
    with pytest.raises(ConfigError, match=f"recipe.yaml: .*{reason}") as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_an_unknown_part_of_the_backbone_is_named(tmp_path):
    with pytest.raises(ConfigError, match="backbone: .*'depth'"):
        read(tmp_path, LAYERS + "backbone: {depth: 3}\n").codec_config()
