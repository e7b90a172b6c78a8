"""From a recipe and a folder of clips to a model that is ready for its first step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from llmcodec.codec import LLMCodec
from llmcodec.errors import ConfigError, ModelError
from llmcodec.llm import load_llm
from llmcodec.models import locate
from llmcodec.teachers import TextTeacher
from llmcodec.training.cache import SAMPLES_PER_ROW, FeatureCache
from llmcodec.training.codebooks import (
    ClipSample,
    ProjectedCodebook,
    fit_teacher_space,
    match_words,
    sample_targets,
    spherical_kmeans,
)  # fmt: skip
from llmcodec.training.data import CropBatches
from llmcodec.training.model import TrainingModel
from llmcodec.training.recipe import Recipe, Words
from llmcodec.vocabulary import Vocabulary


@dataclass(frozen=True)
class WordSource:
    """The language model's words and their embeddings [V, E]."""

    known: dict[str, int]
    embeddings: Tensor

    @classmethod
    def load(cls, name: str) -> WordSource:
        llm = load_llm(locate(name), dtype="float32")
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


def prepare(recipe: Recipe, cache: FeatureCache) -> TrainingModel:
    """Build codec, codebooks and heads; the semantic codebook starts from clustered teacher features."""
    torch.manual_seed(recipe.seed)
    config = recipe.codec_config()
    source = WordSource.load(recipe.llm)
    first = recipe.layers[0]
    pool = first.stride * config.frame_samples // SAMPLES_PER_ROW
    random = np.random.default_rng(recipe.seed)
    crops = CropBatches(cache, recipe.data, config, recipe.seed)
    chosen = random.choice(len(crops.weights), recipe.semantic.sample_clips, p=crops.weights)
    rows = torch.cat([cache.rows(int(clip), 0, crops.rows) for clip in chosen])
    space = fit_teacher_space(rows, first.lookup_dim, pool)
    sample = sample_targets(cache, space, chosen, pool, recipe.semantic.context, crops.rows, recipe.seed)

    candidates = source.candidates(first.words)
    count = first.words.size or len(candidates)
    if len(sample.targets) < count:
        raise ConfigError(
            f"{len(sample.targets)} teacher rows cannot give {count} words to the first layer; take longer clips, "
            "a larger semantic.sample_clips or a smaller layers.0.words.size"
        )
    centroids = spherical_kmeans(sample.targets, count, recipe.semantic.kmeans_rounds, recipe.seed)
    places = _name(centroids, sample, cache, candidates, recipe)
    vocabularies = [Vocabulary(tuple(candidates[place] for place in places))]
    for layer in recipe.layers[1:]:
        chosen_words = source.candidates(layer.words)
        vocabularies.append(Vocabulary(chosen_words[: layer.words.size or len(chosen_words)]))
    codebooks = [
        ProjectedCodebook(source.rows(vocabulary), layer.lookup_dim)
        for vocabulary, layer in zip(vocabularies, recipe.layers, strict=True)
    ]
    codebooks[0].fit(centroids)
    codec = LLMCodec(config, vocabularies)
    return TrainingModel(codec, codebooks, space, recipe.losses, recipe.semantic.context, cache.texts.shape[1])


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
