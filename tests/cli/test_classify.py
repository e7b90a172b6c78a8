import json
import shutil

import pytest

from llmcodec.llm import FakeLLM, sources


def test_queries_are_named_with_probabilities(run, demonstrations, clip, tmp_path):
    again, shown = demonstrations / "bass" / "bass1.flac", tmp_path / "shown.csv"  # one each: it is nearest to itself
    rows = [f"{demonstrations / label / label}1.flac,{label}" for label in ("bass", "beat", "cymbal", "tabla")]
    shown.write_text("\n".join(["file,label", *rows]), encoding="utf-8")
    result = run("classify", shown, again, clip, "--json")
    assert result.exit_code == 0 and result.stderr == ""
    first, second = map(json.loads, result.stdout.splitlines())
    assert (first["file"], second["file"]) == (str(again), str(clip))
    for found in (first, second):
        chances = found["probabilities"]
        assert set(chances) == {"bass", "beat", "cymbal", "tabla"} and sum(chances.values()) == pytest.approx(1)
        assert found["label"] == max(chances, key=chances.get) == next(iter(chances))
    assert first["label"] == "bass"

    run("encode", clip, "-o", tmp_path / "clip.safetensors")
    from_codes = json.loads(run("classify", shown, tmp_path / "clip.safetensors", "--json").stdout)
    assert from_codes["probabilities"] == pytest.approx(second["probabilities"])


def test_the_plain_output_is_one_line_for_each_query(run, demonstrations, clip):
    result = run(
        "classify", demonstrations, clip, demonstrations / "beat", "--scorer", "direct", "--layers", "semantic,coarse"
    )
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and len(lines) == 4
    assert lines[0].startswith(f"{clip}: ") and lines[0].count("%") == 4


def test_below_a_probability_nothing_is_named(run, demonstrations, clip):
    best = max(json.loads(run("classify", demonstrations, clip, "--json").stdout)["probabilities"].values())
    for least, sure in ((best - 0.01, True), (best + 0.01, False)):
        found = json.loads(run("classify", demonstrations, clip, "--json", "--least", least).stdout)
        assert (found["label"] is not None) is sure
        assert ("unsure; " in run("classify", demonstrations, clip, "--least", least).stdout) is not sure
    assert run("classify", demonstrations, clip, "--least", 2).exit_code == 2


def test_the_words_that_spoke(run, refused, demonstrations, clip):
    found = json.loads(run("classify", demonstrations, clip, "--explain", "--json").stdout)
    assert found["words"] and {"word", "label", "weight"} == set(found["words"][0])
    lines = run("classify", demonstrations, clip, "--explain").stdout.splitlines()
    assert lines[1].strip().startswith(found["words"][0]["word"] + ": ")
    refused(run("classify", demonstrations, clip, "--explain", "--scorer", "direct"), "knn can")


def test_a_table_of_demonstrations(run, demonstrations, clip, tmp_path):
    rows = [f"{file},{file.parent.name}" for file in sorted(demonstrations.glob("b*/*1.flac"))]
    (tmp_path / "table.csv").write_text("\n".join(["file,label", *rows]))
    result = run("classify", tmp_path / "table.csv", clip, "--json")
    assert set(json.loads(result.stdout)["probabilities"]) == {"bass", "beat"}


def test_odd_queries_are_named(run, demonstrations, odd_clip):
    assert run("classify", demonstrations, odd_clip).exit_code == 0


def test_a_bad_query_is_an_error_and_nothing_is_printed_half(run, refused, demonstrations, clip, bad_clip):
    refused(run("classify", demonstrations, clip, bad_clip, "--json"), bad_clip.name)


def test_a_bad_demonstration_is_named(run, refused, demonstrations, bad_clip, clip, tmp_path):
    shutil.copytree(demonstrations, tmp_path / "known")
    if bad_clip.exists():
        shutil.copy(bad_clip, tmp_path / "known" / "bass" / "bad.wav")
        refused(run("classify", tmp_path / "known", clip), "bad.wav")


def test_demonstrations_that_teach_nothing_are_refused(run, refused, demonstrations, clip, tmp_path):
    shutil.copytree(demonstrations / "bass", tmp_path / "one" / "bass")
    (tmp_path / "empty").mkdir()
    refused(run("classify", tmp_path / "one", clip), "at least two labels are needed")
    refused(run("classify", tmp_path / "empty", clip), "one sub-folder of clips per label")
    refused(run("classify", tmp_path / "missing", clip), "missing")


def test_wrong_options_are_named(run, refused, demonstrations, clip, tmp_path):
    template = tmp_path / "mine.yaml"
    template.write_text("name: mine\ncolour: red\n")
    refused(run("classify", demonstrations, clip, "--template", template), "mine.yaml: description: Field required")
    refused(run("classify", demonstrations, clip, "--template", template), "colour: unknown field; fields are ")
    refused(run("classify", demonstrations, clip, "--template", "song"), "song: no such template; use ")
    refused(
        run("classify", demonstrations, clip, "--scorer", "loud"), "'loud' is not one of knn, channel, ensemble, direct"
    )
    refused(run("classify", demonstrations, clip, "--layers", "semantic,loud"), "no layer 'loud'")


@pytest.mark.parametrize("scorer", ["knn", "channel", "direct"])
def test_a_prompt_that_is_too_long_says_so(run, refused, demonstrations, clip, scorer, monkeypatch):
    monkeypatch.setattr("llmcodec.llm.load_llm", lambda *_, **__: FakeLLM(max_context=30))
    refused(run("classify", demonstrations, clip, "--scorer", scorer), "tokens are more than the 30 of fake")


def test_no_model_and_no_network_is_one_line(run, refused, demonstrations, clip, tmp_path, monkeypatch):
    def nothing(*_, **__):
        raise ConnectionError("no route\nto the hub")

    def no_pip(*_, **__):
        raise sources.ModelError("pip gives nothing")

    monkeypatch.setattr("llmcodec.llm.load_llm", sources.load_llm)
    monkeypatch.setenv("LLMCODEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("LLMCODEC_LLM", raising=False)
    monkeypatch.setattr(sources, "_find", lambda _: None)
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", nothing)
    monkeypatch.setattr(sources, "_from_wheel", no_pip)
    refused(run("classify", demonstrations, clip), "is in no cache; the hub gives no answer")
    refused(
        run("classify", demonstrations, clip, "--llm", "someone/model"),
        "someone/model is neither a folder nor in a cache",
    )
    refused(run("classify", demonstrations, clip, "--llm", tmp_path), "not a model folder")
    monkeypatch.setattr("llmcodec.codec.model.snapshot_download", nothing)
    refused(run("classify", demonstrations, clip, codec="someone/codec"), "codec 'someone/codec' is neither a folder")
