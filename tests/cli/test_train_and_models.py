import json
import sys
from pathlib import Path

import pytest

from llmcodec.errors import ModelError

RECIPE = """
layers:
- {name: semantic, stride: 4, lookup_dim: 8, from_context: true}
- {name: coarse, stride: 2, lookup_dim: 8}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


def test_train_hands_over_its_options(run, recipe, tmp_path, monkeypatch):
    trainer = pytest.importorskip("llmcodec.training.trainer", exc_type=ImportError)
    asked = []
    monkeypatch.setattr(trainer, "train", lambda *arguments: asked.append(arguments) or Path("out/codec"))
    options = ["--data", "clips", "--out", "out", "--cache", "cache", "--max-minutes", 2]
    result = run("train", recipe, *options)
    assert result.exit_code == 0 and result.stdout == f"{Path('out/codec')}\n"
    ((plan, *rest),) = asked
    assert plan.layers[0].name == "semantic" and rest == [Path("clips"), Path("out"), Path("cache"), 2.0]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (RECIPE + "colour: red\n", "colour: unknown field; fields are "),
        (RECIPE + "optimiser: {steps: 0}\n", "optimiser.steps: "),
        ("layers: [", "valid YAML"),
        ("", "fields"),
    ],
)
def test_a_recipe_with_a_mistake_is_named_with_its_field(run, refused, recipe, text, reason, tmp_path):
    recipe.write_text(text)
    result = run("train", recipe, "--data", tmp_path, "--out", tmp_path / "out")
    refused(result, "recipe.yaml: ")
    refused(result, reason)
    assert not (tmp_path / "out").exists()


def test_training_without_its_extra_names_it(run, refused, recipe, tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "llmcodec.training.trainer", raising=False)
    monkeypatch.setitem(sys.modules, "accelerate", None)
    result = run("train", recipe, "--data", tmp_path, "--out", tmp_path / "out")
    refused(result, "training needs accelerate: pip install 'llmcodec[train]'")


def test_models_are_listed(run, tmp_path, monkeypatch):
    monkeypatch.setenv("LLMCODEC_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    plain, lines = run("models", "list"), run("models", "list", "--json").stdout.splitlines()
    assert plain.exit_code == 0 and len(plain.stdout.splitlines()) == len(lines) > 2
    first = json.loads(lines[0])
    assert first["name"] == "smollm2-135m" and first["folder"] is None and "not here" in plain.stdout


def test_a_model_is_fetched(run, refused, monkeypatch):
    def resolve(name):
        if name == "nobody/none":
            raise ModelError("nobody/none is neither a folder nor in a cache")
        return Path("models") / (name or "default")

    monkeypatch.setattr("llmcodec.llm.resolve_llm", resolve)
    assert run("models", "fetch").stdout == f"{Path('models/default')}\n"
    assert run("models", "fetch", "qwen2.5-0.5b").stdout == f"{Path('models/qwen2.5-0.5b')}\n"
    refused(run("models", "fetch", "nobody/none"), "nobody/none is neither")
