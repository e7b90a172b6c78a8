import json

import pytest
import torch
import yaml

from llmcodec.codec import AudioCodes
from llmcodec.errors import ConfigError
from llmcodec.evaluation import draw_episodes, read_labelled
from llmcodec.evaluation.harness import export_task, prompt_text, words_text
from llmcodec.llm import FakeLLM
from llmcodec.prompting import PromptBuilder, load_template


@pytest.fixture
def exported(sounds, codec, tmp_path):
    """The task, its documents, and what they came from."""
    folder, template = read_labelled(sounds), load_template("sound")
    episodes = draw_episodes(folder, 3, 1, 6, 0)
    described, data = export_task(tmp_path, "sounds_3way", folder, codec, template, episodes)
    return yaml.safe_load(described.read_text()), [json.loads(line) for line in data.open()], folder, episodes


def test_documents_hold_prompt_choices_and_answer(exported):
    task, documents, folder, episodes = exported
    assert (
        task["output_type"] == "multiple_choice" and task["dataset_kwargs"]["data_files"]["test"] == "sounds_3way.jsonl"
    )
    assert len(documents) == 6
    for document, episode in zip(documents, episodes, strict=True):
        assert document["choices"] == [f" {label}" for label in sorted(episode.labels)]
        assert document["choices"][document["gold"]].strip() == folder.labels[episode.queries[0]]
        assert document["prompt"].count("Sound:") == 4 and document["prompt"].endswith("Label:")


def test_the_text_is_what_the_builder_tokenises(codec, sounds):
    llm, template = FakeLLM(), load_template("sound")
    builder = PromptBuilder(template, llm, codec.vocabularies, codec.layer_names)
    clips = [AudioCodes(tuple(torch.tensor([row]) for _ in range(3)), torch.tensor([1])) for row in ([1, 2], [3], [2])]
    ids = builder.direct(
        [(builder.word_ids(clips[0]), "dog"), (builder.word_ids(clips[1]), "rain")], builder.word_ids(clips[2])
    )
    texts = [words_text(clip, codec, template.layers) for clip in clips]
    text = prompt_text(template, [(texts[0], "dog"), (texts[1], "rain")], texts[2], ["dog", "rain"])
    names = {token: f" {word}" for word, token in llm.words().items()}
    said = b"".join(names[token].encode() if token in names else bytes([token]) for token in ids if token != llm.bos_id)
    assert said.decode() == text


def test_an_odd_name_is_refused(sounds, codec, tmp_path):
    with pytest.raises(ConfigError, match="letters, digits"):
        export_task(tmp_path, "a/b", read_labelled(sounds), codec, load_template("sound"), [])
