from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llmcodec.errors import ConfigError, ModelError, PromptError
from llmcodec.llm import FakeLLM
from llmcodec.prompting import PromptBuilder, TaskTemplate, load_template, template_names
from llmcodec.vocabulary import Vocabulary

LAYERS = ("semantic", "coarse", "fine")
VOCABULARIES = (Vocabulary(("sun", "moon")), Vocabulary(("tree", "river", "stone")), Vocabulary(("cloud",)))
TEMPLATE = TaskTemplate(
    name="test",
    description="a test",
    instruction="Of {labels}.\n",
    demonstration="In:{words}\nOut: {label}\n\n",
    query="Now in:{words}\nOut:",
    layers=("coarse", "semantic"),
)
clips = st.lists(st.lists(st.integers(0, 1), max_size=4), max_size=4)


@dataclass
class Codes:
    layers: tuple[torch.Tensor, ...]


def codes(*layers: list[int]) -> Codes:
    return Codes(tuple(torch.tensor([layer], dtype=torch.long) for layer in layers))


def model(max_context: int = 4096) -> FakeLLM:
    return FakeLLM(["sun", "moon", "tree", "river", "stone", "cloud", "dog", "cat"], max_context)


def build(llm: FakeLLM | None = None, template: TaskTemplate = TEMPLATE) -> PromptBuilder:
    return PromptBuilder(template, llm or model(), VOCABULARIES, LAYERS)


def text(llm: FakeLLM, ids: list[int]) -> str:
    """What the ids say; bos is ^."""
    words = {token: f" {word}".encode() for word, token in llm.words().items()}
    return b"".join(b"^" if token == llm.bos_id else words.get(token) or bytes([token]) for token in ids).decode()


def test_word_ids_are_the_templates_layers_in_its_order_without_padding() -> None:
    llm = model()
    ids = build(llm).word_ids(codes([1, 0, -1], [2, 0, 1, -1, -1], [0]))
    assert ids == tuple(llm.word_id(word) for word in ("stone", "tree", "river", "moon", "sun"))
    assert [len(row) for row in ids.rows] == [3, 2] and sum(ids.rows, ()) == ids
    assert build(llm).word_ids(codes([-1], [-1, -1], [0])) == ()


@given(st.sampled_from(template_names()), st.data())
def test_every_word_of_a_clip_is_one_token(name: str, data: st.DataObject) -> None:
    builder = build(template=load_template(name))
    layers = [data.draw(st.lists(st.integers(0, len(words) - 1))) for words in VOCABULARIES]
    used = [LAYERS.index(layer) for layer in builder.template.layers]
    assert len(builder.word_ids(codes(*layers))) == sum(len(layers[i]) for i in used)


def test_prompts_read_as_the_template_says() -> None:
    llm = model()
    builder = build(llm)
    sun, moon = llm.word_id("sun"), llm.word_id("moon")
    direct = builder.direct([([sun, moon], "dog"), ([moon], "cat")], [sun])
    assert text(llm, direct) == (
        "^Of 'cat' or 'dog'.\nIn: sun moon\nOut: dog\n\nIn: moon\nOut: cat\n\nNow in: sun\nOut:"
    )
    assert text(llm, builder.context([[sun, moon], [moon]])) == "^In: sun moon\n\nIn: moon\n\nIn:"
    assert text(llm, builder.context([])) == "^In:"


@given(clips, st.lists(st.integers(0, 1)))
def test_a_query_with_its_label_ends_as_a_demonstration_does(demonstrations: list[list[int]], query: list[int]) -> None:
    template = TEMPLATE.model_copy(update={"query": "In:{words}\nOut:"})
    builder = build(template=template)
    labelled = [(words, "dog") for words in demonstrations]
    answered = builder.direct(labelled, query, ["dog"]) + builder.label_ids("dog")
    as_demonstration = builder.direct([*labelled, (query, "dog")], [], ["dog"])
    assert as_demonstration[: len(answered)] == answered


@given(clips)
def test_a_context_grows_by_its_demonstrations(demonstrations: list[list[int]]) -> None:
    builder = build()
    base = len(builder.context([]))
    assert len(builder.context(demonstrations)) == base + sum(len(builder.context([d])) - base for d in demonstrations)


def test_a_label_of_one_word_token_is_that_token() -> None:
    llm = model()
    assert build(llm).label_ids("dog") == [llm.word_id("dog")]
    glued = TEMPLATE.model_copy(update={"demonstration": "In:{words}\nOut:{label}"})
    assert build(llm, glued).label_ids("dog") == list(b"dog")


def test_the_instruction_names_the_labels_that_are_given() -> None:
    llm = model()
    prompt = text(llm, build(llm).direct([([], "dog")], [], labels=["dog", "ant", "cat"]))
    assert prompt.startswith("^Of 'ant' or 'cat' or 'dog'.\n")


def test_a_model_without_bos_gets_none() -> None:
    llm = model()
    llm.bos_id = None
    assert text(llm, build(llm).context([])) == "In:"


def test_a_prompt_may_fill_the_context_but_not_exceed_it() -> None:
    demonstrations = [([300] * 5, "dog")] * 6
    builder = build()
    prompt = builder.direct(demonstrations, [300])
    exact = len(prompt) + len(builder.label_ids("dog"))
    assert build(model(exact)).direct(demonstrations, [300]) == prompt
    with pytest.raises(PromptError, match=rf"{exact} tokens .* {exact - 1} of fake; 5 of 6 demonstrations would fit"):
        build(model(exact - 1)).direct(demonstrations, [300])


@given(st.lists(st.integers(0, 30), min_size=1, max_size=6), st.integers(5, 100))
def test_the_demonstrations_said_to_fit_do_fit_and_one_more_does_not(lengths: list[int], limit: int) -> None:
    builder = build(model(limit))
    demonstrations = [[300] * length for length in lengths]
    try:
        builder.context(demonstrations)
    except PromptError as error:
        fitting = int(str(error).split("; ")[1].split()[0])
        builder.context(demonstrations[:fitting])
        with pytest.raises(PromptError):
            builder.context(demonstrations[: fitting + 1])


def test_check_counts_what_a_caller_adds() -> None:
    builder = build(model(100))
    builder.check(100, "a query")
    with pytest.raises(PromptError, match="^a query: 101 tokens are more than the 100 of fake; use shorter clips"):
        builder.check(101, "a query")


def test_an_unknown_layer_names_template_and_allowed_layers() -> None:
    template = TEMPLATE.model_copy(update={"layers": ("semantic", "warm")})
    with pytest.raises(ConfigError, match="template test: layers: .*'warm'; allowed: semantic, coarse, fine"):
        build(template=template)


def test_a_word_that_is_no_token_of_the_model_is_named() -> None:
    with pytest.raises(ModelError, match="stone"):
        build(FakeLLM(["sun", "moon", "tree", "river", "cloud"]))


def test_wrong_codes_and_labels_are_refused() -> None:
    builder = build()
    with pytest.raises(PromptError, match="code 3 of layer coarse is outside its 3 words"):
        builder.word_ids(codes([0], [0, 3], [0]))
    with pytest.raises(PromptError, match="one clip, got 2"):
        builder.word_ids(Codes((torch.zeros(2, 1, dtype=torch.long),) * 3))
    with pytest.raises(PromptError, match="empty"):
        builder.label_ids(" ")
