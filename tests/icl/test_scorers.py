import pytest
import torch

from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.errors import ConfigError, PromptError
from llmcodec.icl import (
    SCORERS,
    ChannelScorer,
    DirectScorer,
    EnsembleScorer,
    NeighbourScorer,
    PaperScorer,
    Scorer,
    build_scorer,
)
from llmcodec.icl.neighbour import fitted_sharpness
from llmcodec.llm import FakeLLM
from llmcodec.prompting import ClipWords, PromptBuilder, load_template


def words(builder: PromptBuilder, codes: list[int]) -> ClipWords:
    (tokens,) = builder.tokens
    return ClipWords([[tokens[code] for code in codes]])


@pytest.mark.parametrize("name", [name for name in SCORERS if name != "direct-batch"])
def test_scoring_together_equals_scoring_alone(builder: PromptBuilder, space: WordSpace, name: str) -> None:
    scorer = build_scorer(name, builder, space)
    scorer.fit([[words(builder, [1, 2, 3]), words(builder, [2, 2])], [words(builder, [7, 8, 9])]], ["dog", "rain"])
    queries = [words(builder, [1, 2]), words(builder, [9, 8, 9, 9]), words(builder, [30])]
    together = scorer.scores(queries)
    assert together.shape == (3, 2)
    torch.testing.assert_close(together, torch.cat([scorer.scores([query]) for query in queries]))


@pytest.mark.parametrize("name", SCORERS)
def test_a_clip_without_words_has_scores(builder: PromptBuilder, space: WordSpace, name: str) -> None:
    scorer = build_scorer(name, builder, space)
    scorer.fit([[words(builder, [1, 2, 3])], [words(builder, [])]], ["dog", "rain"])
    assert scorer.scores([words(builder, []), words(builder, [1])]).isfinite().all()
    assert scorer.scores([]).shape == (0, 2)


@pytest.mark.parametrize("name", SCORERS)
def test_the_order_of_classes_only_orders_the_columns(builder: PromptBuilder, space: WordSpace, name: str) -> None:
    if name.startswith("direct") or name == "paper":
        pytest.skip("classes take turns in one prompt, so their order has an effect there")
    classes = [[words(builder, [1, 2, 3])], [words(builder, [7, 8, 9])], [words(builder, [20, 21])]]
    labels, order = ["dog", "rain", "bell"], [2, 0, 1]
    one, other = build_scorer(name, builder, space), build_scorer(name, builder, space)
    one.fit(classes, labels)
    other.fit([classes[place] for place in order], [labels[place] for place in order])
    query = [words(builder, [1, 8, 20, 3])]
    torch.testing.assert_close(one.scores(query)[:, order], other.scores(query))


@pytest.mark.parametrize("name", ["knn", "channel"])
def test_the_class_whose_words_return_is_preferred(builder: PromptBuilder, space: WordSpace, name: str) -> None:
    scorer = build_scorer(name, builder, space)
    scorer.fit([[words(builder, [1, 2, 3, 4])], [words(builder, [11, 12, 13, 14])]], ["dog", "rain"])
    scores = scorer.scores([words(builder, [2, 3, 1]), words(builder, [14, 12, 13])])
    assert scores.argmax(1).tolist() == [0, 1]


def test_knn_is_the_cosine_of_words_held_and_words_expected(builder: PromptBuilder, space: WordSpace) -> None:
    scorer = NeighbourScorer(builder, space, expected=0.5, sharpness=2.0)
    clips = [words(builder, codes) for codes in ([1, 2, 2], [2, 5], [7, 8, 9])]
    scorer.fit([clips[:2], clips[2:]], ["dog", "rain"])  # one class of one clip: sharpness stays
    empty = builder.llm.prepare([builder.context([])])[0]
    (ids,) = builder.tokens
    held = torch.tensor([[clip.count(token) / len(clip) for token in ids] for clip in clips])
    both = space.vectors([held / 2 + builder.llm.expected([(empty, clip) for clip in clips], ids) / 2])
    classes = torch.stack([both[:2].mean(0) / both[:2].mean(0).norm(), both[2]])
    torch.testing.assert_close(scorer.scores(clips[1:2])[0], 2 * classes @ both[1])


def test_sharpness_follows_how_well_demonstrations_name_each_other() -> None:
    torch.manual_seed(0)
    clips = torch.nn.functional.normalize(torch.eye(3).repeat_interleave(5, 0) + 0.3 * torch.rand(15, 3), dim=1)
    apart = list(clips.split(5))
    mixed = [clips[place::3] for place in range(3)]
    assert fitted_sharpness(apart, 3.0) > 3 > fitted_sharpness(mixed, 3.0)
    assert fitted_sharpness([each[:1] for each in apart], 3.0) == 3


def test_knn_says_what_each_word_adds(builder: PromptBuilder, space: WordSpace) -> None:
    demonstrations = [[words(builder, [1, 2, 2])], [words(builder, [3])]]
    scorer = NeighbourScorer(builder, space)
    scorer.fit(demonstrations, ["dog", "rain"])
    query = words(builder, [2, 3, 2])
    parts = scorer.parts(query)
    two, three = builder.tokens[0][2], builder.tokens[0][3]
    assert set(parts) == {two, three} and parts[two].argmax() == 0 and parts[three].argmax() == 1
    everything = NeighbourScorer(builder, space, expected=0.0)
    everything.fit(demonstrations, ["dog", "rain"])
    torch.testing.assert_close(sum(everything.parts(query).values()), everything.scores([query])[0])


def test_knn_keeps_layers_apart(tiny_codec: LLMCodec) -> None:
    layers = ("semantic", "coarse", "fine")
    template = load_template("sound").model_copy(update={"layers": layers})
    builder = PromptBuilder(template, FakeLLM(), tiny_codec.vocabularies, tiny_codec.layer_names)
    space = WordSpace(tiny_codec, layers)
    codes = [
        AudioCodes(tuple(torch.tensor([row]) for row in rows), torch.tensor([3840]))
        for rows in (([1, 2], [3, 4], [5, 6]), ([1, 2], [9, 9], [5, 7]), ([8, 2], [4, 3], [5, 6]))
    ]
    scorer = NeighbourScorer(builder, space, expected=0.0, sharpness=1.0)
    clips = [builder.word_ids(clip) for clip in codes]
    scorer.fit([[clips[0]], [clips[1]]], ["dog", "rain"])
    vectors = space.vectors(space.shares(codes))
    torch.testing.assert_close(scorer.scores(clips), vectors @ vectors[:2].T)
    torch.testing.assert_close(sum(scorer.parts(clips[2]).values()), scorer.scores(clips[2:])[0])


def test_words_of_no_demonstration_speak_for_no_class(builder: PromptBuilder, space: WordSpace) -> None:
    scorer = build_scorer("channel", builder, space)
    scorer.fit([[words(builder, [1, 2])], [words(builder, [3, 4])]], ["dog", "rain"])
    scores = scorer.scores([words(builder, [38, 39])])
    torch.testing.assert_close(scores[0, 0], scores[0, 1], atol=1e-3, rtol=0)


def test_direct_scores_are_log_likelihoods_of_the_labels(builder: PromptBuilder, space: WordSpace) -> None:
    scorer = build_scorer("direct", builder, space)
    demonstrations = [[words(builder, [1, 2])], [words(builder, [3])]]
    scorer.fit(demonstrations, ["dog", "heavy rain"])
    query = words(builder, [1, 5])
    prompt = builder.direct([(demonstrations[0][0], "dog"), (demonstrations[1][0], "heavy rain")], query)
    prefix = builder.llm.prepare([prompt])[0]
    wanted = [
        builder.llm.log_likelihood([(prefix, builder.label_ids(label))])[0].sum() for label in ("dog", "heavy rain")
    ]
    torch.testing.assert_close(scorer.scores([query])[0], torch.stack(wanted), atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", SCORERS)
def test_what_does_not_fit_the_context_is_said(builder: PromptBuilder, space: WordSpace, name: str) -> None:
    small = PromptBuilder.__new__(PromptBuilder)
    small.__dict__.update(builder.__dict__)
    small.llm = FakeLLM(max_context=60)
    scorer = build_scorer(name, small, space)
    with pytest.raises(PromptError, match="60"):
        scorer.fit([[words(builder, [1] * 70)], [words(builder, [2])]], ["dog", "rain"])
        scorer.scores([words(builder, [1])])


def test_calibration_takes_off_what_the_model_always_says(builder: PromptBuilder) -> None:
    demonstrations, labels = [[words(builder, [1, 2])], [words(builder, [3])]], ["dog", "heavy rain"]
    plain, context, batch = (DirectScorer(builder, calibration) for calibration in (None, "context", "batch"))
    for scorer in (plain, context, batch):
        scorer.fit(demonstrations, labels)
    queries = [words(builder, [1, 5]), words(builder, [3])]
    taken = plain.scores(queries) - context.scores(queries)
    torch.testing.assert_close(taken[0], taken[1])
    assert taken[0].abs().min() > 0
    torch.testing.assert_close(batch.scores(queries).mean(0), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(batch.scores(queries[:1]), plain.scores(queries[:1]))


def test_orders_are_averaged(builder: PromptBuilder) -> None:
    demonstrations, labels = [[words(builder, [1, 2])], [words(builder, [3])]], ["dog", "rain"]
    query = [words(builder, [1, 5])]
    one, other, both = DirectScorer(builder), DirectScorer(builder), DirectScorer(builder, orders=4)
    one.fit(demonstrations, labels)
    other.fit(demonstrations[::-1], labels[::-1])
    both.fit(demonstrations, labels)
    torch.testing.assert_close(both.scores(query), (one.scores(query) + other.scores(query).flip(1)) / 2)


def test_the_paper_writes_one_label(builder: PromptBuilder) -> None:
    scorer = PaperScorer(builder)
    labels = ["dog", "door bell", "rain"]
    scorer.fit([[words(builder, [1, 2])], [words(builder, [3])], [words(builder, [5] * 30)]], labels)
    scores = scorer.scores([words(builder, [1, 5]), words(builder, [9] * 30)])
    assert scores.shape == (2, 3) and set(scores.unique().tolist()) <= {0.0, 1.0}
    assert (scores.sum(1) <= 1).all()
    cut = scorer.scores([words(builder, [9] * 10)])
    torch.testing.assert_close(scores[1:], cut)
    prompt = scorer.builder.direct(scorer._demonstrations, words(builder, [9] * 10), labels)
    text = "###\nInput: <"
    assert sum(prompt[n : n + len(text)] == list(text.encode()) for n in range(len(prompt))) == 4


def test_an_ensemble_is_the_mean_of_log_probabilities(builder: PromptBuilder, space: WordSpace) -> None:
    members: list[Scorer] = [NeighbourScorer(builder, space), ChannelScorer(builder)]
    both = EnsembleScorer(members)
    both.fit([[words(builder, [1, 2])], [words(builder, [3])]], ["dog", "rain"])
    query = [words(builder, [1, 5])]
    wanted = torch.stack([member.scores(query).softmax(-1).log() for member in members]).mean(0)
    torch.testing.assert_close(both.scores(query), wanted)


def test_an_unknown_scorer_is_refused_with_the_choices(builder: PromptBuilder, space: WordSpace) -> None:
    with pytest.raises(ConfigError, match="knn, channel, ensemble, direct"):
        build_scorer("guess", builder, space)
