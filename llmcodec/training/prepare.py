"""From a recipe and a folder of clips to a model that is ready for its first step."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from llmcodec.codec import LLMCodec
from llmcodec.codec.spectral import SpectralEncoder
from llmcodec.errors import ConfigError, ModelError, first_line
from llmcodec.llm import load_transformers
from llmcodec.models import locate
from llmcodec.teachers import AudioTeacher, TextTeacher
from llmcodec.training.cache import SAMPLES_PER_ROW, Complain, FeatureCache, Progress, TeacherNames
from llmcodec.training.codebooks import (
    ClipSample,
    ProjectedCodebook,
    TeacherSpace,
    fit_teacher_space,
    match_words,
    sample_targets,
    spherical_kmeans,
    with_captions,
)  # fmt: skip
from llmcodec.training.data import CropBatches
from llmcodec.training.decoder import DecoderTraining
from llmcodec.training.inherit import inherit
from llmcodec.training.model import TrainingModel
from llmcodec.training.recipe import Recipe, Words
from llmcodec.training.sources import open_source
from llmcodec.vocabulary import Vocabulary

OF_THE_DECODER = ("decoder_width", "decoder_depth", "fine_width", "fine_depth", "harmonic_bands")  # alone
INHERIT_CLIPS, INHERIT_SECONDS = 24, 5.0  # what the teacher's attention is watched in
MISFIT = "recipe field start: the codec is of other layers or another backbone"


@dataclass(frozen=True)
class WordSource:
    """The language model's words and their embeddings [V, E]."""

    known: dict[str, int]
    embeddings: Tensor

    @classmethod
    def load(cls, name: str) -> WordSource:
        llm = load_transformers(locate(name), dtype="float32")
        embeddings = llm.embeddings()
        return cls(llm.words(), embeddings)

    def candidates(self, words: Words) -> tuple[str, ...]:
        """The words that a recipe's `words.source` names."""
        found = {
            "portable": lambda: Vocabulary.portable().words,
            "whole_words": lambda: Vocabulary.whole_words().words,
            "llm": lambda: tuple(sorted(self.known, key=self.known.__getitem__)),
        }[words.source]()
        if words.size and words.size > len(found):
            raise ConfigError(f"recipe field words.size: {words.size}, but {words.source} has {len(found)} words")
        return found

    def rows(self, vocabulary: Vocabulary) -> Tensor:
        missing = [word for word in vocabulary if word not in self.known]
        if missing:
            raise ModelError(f"{len(missing)} words are no tokens of the recipe's llm: {', '.join(missing[:5])}")
        return self.embeddings[[self.known[word] for word in vocabulary]]


def feature_cache(
    recipe: Recipe, data: Path, root: Path, progress: Progress | None = None, complain: Complain | None = None
) -> FeatureCache:
    """The feature cache of a recipe on `data`, opened below `root` or computed there; see `FeatureCache.build`.

    Of waveforms alone where a decoder learns.
    """
    source, teachers = open_source(data, recipe.data.exclude), None
    if recipe.learns == "codec":
        names = recipe.teachers
        teachers = TeacherNames(locate(names.audio), names.audio_layer, locate(names.text))
    settings = recipe.data
    return FeatureCache.build(root, source, teachers, settings.copies, settings.mixed, recipe.seed, progress, complain)


def prepare(recipe: Recipe, cache: FeatureCache) -> TrainingModel:
    """Build codec, codebooks and heads. The words of the first layer are those of `recipe.semantic.codec` or
    `recipe.start`, or else named after clustered teacher features."""
    torch.manual_seed(recipe.seed)
    source = WordSource.load(recipe.llm)
    space, clips = teacher_space(recipe, cache)
    start = _codec(recipe.start) if recipe.start else None
    held = _codec(recipe.semantic.codec) if recipe.semantic.codec else None
    if known := held or start:
        words, table = known.vocabularies[0], known.quantizer.layers[0].get_buffer("table")
    else:
        candidates = source.candidates(recipe.layers[0].words)
        sample, table = cluster(recipe, cache, space, clips, recipe.layers[0].words.size or len(candidates))
        words = Vocabulary(tuple(candidates[place] for place in _name(table, sample, cache, candidates, recipe)))
    vocabularies = [words]
    for layer in recipe.layers[1:]:
        candidates = source.candidates(layer.words)
        vocabularies.append(Vocabulary(candidates[: layer.words.size or len(candidates)]))
    codebooks = [
        ProjectedCodebook(source.rows(vocabulary), layer.lookup_dim, layer.words.trainable)
        for vocabulary, layer in zip(vocabularies, recipe.layers, strict=True)
    ]
    codebooks[0].fit(table)
    codec = LLMCodec(recipe.codec_config(), vocabularies)
    model = TrainingModel(codec, codebooks, space, recipe.losses, recipe.semantic.context, cache.texts.shape[1])
    if start:
        _begin_with(start, model)
    if recipe.semantic.inherit:
        _inherit(recipe, cache, clips, codec)
    if held:
        _take_words(held, codec)
        model.hold_words()
    return model


def prepare_decoder(recipe: Recipe) -> DecoderTraining:
    """The codec of `recipe.start`, ready for its decoder to learn. The decoder may be of other sizes than its own: then
    it begins with what fits. ConfigError when anything else is of another codec."""
    assert recipe.start is not None
    torch.manual_seed(recipe.seed)
    start, config = _codec(recipe.start), recipe.codec_config()
    sizes = {name: value for name, value in asdict(start.config.backbone).items() if name in OF_THE_DECODER}
    if type(config.backbone) is not type(start.config.backbone) or start.config != replace(
        config, backbone=replace(config.backbone, **sizes)
    ):
        raise ConfigError(MISFIT)
    codec = LLMCodec(config, start.vocabularies)
    codec.encoder.load_state_dict(start.encoder.state_dict())
    codec.quantizer.load_state_dict(start.quantizer.state_dict())
    mine, known = codec.decoder.state_dict(), start.decoder.state_dict()
    fits = {name for name, value in mine.items() if name in known and known[name].shape == value.shape}
    codec.decoder.load_state_dict(mine | {name: known[name] for name in fits})
    return DecoderTraining(codec, recipe.losses)


def _codec(name: str) -> LLMCodec:
    return LLMCodec.from_pretrained(None if name == "default" else locate(name))


def teacher_space(recipe: Recipe, cache: FeatureCache) -> tuple[TeacherSpace, np.ndarray]:
    """The space in which the first layer's words are found, and the clips (balanced, with repeats) it was fitted on."""
    crops = CropBatches(cache, recipe.data, recipe.codec_config(), recipe.seed)
    random = np.random.default_rng(recipe.seed)
    clips = random.choice(len(crops.weights), recipe.semantic.sample_clips, p=crops.weights)
    rows = [cache.rows(int(clip), 0, crops.rows) for clip in clips]
    captions = recipe.semantic.caption_dims
    space = fit_teacher_space(torch.cat(rows), recipe.layers[0].lookup_dim - captions, rows_per_word(recipe))
    if captions:
        told = [
            (found.mean(0), cache.text(text))
            for found, text in zip(rows, cache.text_rows[clips].tolist(), strict=True)
            if text >= 0
        ]
        if not told:
            raise ConfigError("recipe field semantic.caption_dims: no clip has a text; set it to 0")
        heard, texts = (torch.stack(column) for column in zip(*told, strict=True))
        space = with_captions(space, heard, texts, captions)
    return space, clips


def cluster(
    recipe: Recipe, cache: FeatureCache, space: TeacherSpace, clips: np.ndarray, count: int
) -> tuple[ClipSample, Tensor]:
    """Targets of crops of those clips, and `count` centroids of them."""
    rows = CropBatches(cache, recipe.data, recipe.codec_config(), recipe.seed).rows
    sample = sample_targets(cache, space, clips, rows_per_word(recipe), recipe.semantic.context, rows, recipe.seed)
    if len(sample.targets) < count:
        raise ConfigError(
            f"{len(sample.targets)} teacher rows cannot give {count} words to the first layer; take longer clips, "
            "a larger semantic.sample_clips or a smaller layers.0.words.size"
        )
    return sample, spherical_kmeans(sample.targets, count, recipe.semantic.kmeans_rounds, recipe.seed)


def rows_per_word(recipe: Recipe) -> int:
    """Teacher rows that one word of the first layer stands for."""
    return recipe.layers[0].stride * recipe.codec_config().frame_samples // SAMPLES_PER_ROW


def _take_words(held: LLMCodec, codec: LLMCodec) -> None:
    """What chooses the words of the first layer, from one codec into another. ConfigError when they do not fit."""
    for name in ("encoder.listener", "quantizer.layers.0.to_query"):
        try:
            codec.get_submodule(name).load_state_dict(held.get_submodule(name).state_dict())
        except (AttributeError, RuntimeError) as error:
            raise ConfigError(
                f"recipe field semantic.codec: its first layer is not of the recipe's sizes ({first_line(error)})"
            ) from error


def _inherit(recipe: Recipe, cache: FeatureCache, clips: np.ndarray, codec: LLMCodec) -> None:
    assert isinstance(codec.encoder, SpectralEncoder) and codec.encoder.listener is not None
    teacher = AudioTeacher(locate(recipe.teachers.audio), recipe.teachers.audio_layer)
    waves = [cache.wave(int(clip), 0, int(INHERIT_SECONDS * teacher.sample_rate)) for clip in clips[:INHERIT_CLIPS]]
    inherit(codec.encoder.listener, teacher, waves)


def _begin_with(start: LLMCodec, model: TrainingModel) -> None:
    """The weights of a codec, and the projections that make its tables. ConfigError when they do not fit."""
    try:
        model.codec.load_state_dict(start.state_dict())
    except RuntimeError as error:
        raise ConfigError(f"{MISFIT} ({first_line(error)})") from error
    for codebook, vocabulary, layer, known in zip(
        model.codebooks, model.codec.vocabularies, start.quantizer.layers, start.vocabularies, strict=True
    ):
        assert isinstance(codebook, ProjectedCodebook)
        if codebook.standardise:
            if vocabulary != known:
                raise ConfigError("recipe field start: the codec has other words")
            codebook.recover(layer.get_buffer("table"))


def _name(
    centroids: Tensor, sample: ClipSample, cache: FeatureCache, candidates: tuple[str, ...], recipe: Recipe
) -> list[int]:
    """Positions in `candidates` of the words that the centroids get."""
    texts = torch.from_numpy(cache.texts.astype(np.float32))
    text_rows = torch.from_numpy(cache.text_rows)[sample.clips]
    nearest = (sample.targets @ centroids.T).argmax(-1)
    told = text_rows >= 0
    heard = torch.zeros(len(centroids), texts.shape[1]).index_add_(0, nearest[told], texts[text_rows[told]])
    embedded = TextTeacher(locate(recipe.teachers.text)).embed(candidates)
    return match_words(nn.functional.normalize(heard + 1e-9, dim=-1), embedded).tolist()
