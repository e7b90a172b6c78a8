import json

import pytest

from llmcodec.llm import FakeLLM


@pytest.fixture
def tuned(monkeypatch):
    """Adapters that are not trained: what `tune` was asked for, and models named after their folder."""
    tuning = pytest.importorskip("llmcodec.tuning", exc_type=ImportError)
    asked = []

    def load(source=None, *_, **__):
        model = FakeLLM()
        model.name = str(source).rsplit("/", 1)[-1]
        return model

    monkeypatch.setattr(tuning, "tune", lambda *arguments: asked.append(arguments))
    monkeypatch.setattr("llmcodec.llm.load_transformers", load)
    return asked


def test_labels_held_out_are_tested(run, refused, tuned, demonstrations, tmp_path):
    options = ["--out", tmp_path / "a", "--hold-out", 0.5, "--ways", 2, "--shots", 1, "--steps", 3, "--episodes", 5]
    result = run("tune", demonstrations, *options)
    assert result.exit_code == 0, result.output
    ((model, base, lessons, out, settings, *_),) = tuned
    assert len(lessons) == 12 and settings.steps == 3 and out == tmp_path / "a" and base.endswith(model.name)
    report = json.loads((tmp_path / "a" / "test.json").read_text())
    assert not set(report["setup"]["classes"]) & set(lessons.folder.classes)
    methods = [row["method"] for row in report["rows"]]
    assert {f"llm {model.name}, direct", "llm a, direct", "llm a, knn"} < set(methods)
    assert "llm a, direct" in result.stdout
    refused(run("tune", demonstrations, *options, "--rank", 2), "adapters of other settings")


def test_what_cannot_be_learned_is_refused(run, refused, tuned, demonstrations, tmp_path):
    options = ["--out", tmp_path / "a", "--hold-out", 0.5, "--shots", 1]
    refused(run("tune", demonstrations, *options), "ways must lie between 2 and 2")
    refused(run("tune", demonstrations, *options, "--ways", "two"), "--ways")
    refused(run("tune", demonstrations, "--out", tmp_path / "a", "--hold-out", 0.1), "fewer than two on a side")
    refused(run("tune", demonstrations, *options, "--ways", 2, "--tokens", 20), "20 tokens do not hold")
    assert not (tmp_path / "a").exists() and not tuned
