"""FewShotClassifier: a few labelled clips, a frozen codec and a frozen language model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from llmcodec.audio import load_audio
from llmcodec.codec import AudioCodes, LLMCodec, WordSpace
from llmcodec.errors import ConfigError, first_line
from llmcodec.icl.neighbour import NeighbourScorer
from llmcodec.icl.scorers import build_scorer
from llmcodec.llm import FrozenLLM, load_llm
from llmcodec.prompting import PromptBuilder, TaskTemplate, load_template, with_layers

Clip = Any  # path, numpy array or tensor [T] or [channels, T] at the codec's rate, or AudioCodes of one clip
BATCH = 16
ROUNDING = 1e-5  # scores that differ by less are equal


class FewShotClassifier(ClassifierMixin, BaseEstimator):
    """A scikit-learn classifier of sounds. Nothing is trained: `fit` puts the demonstrations into prompts.

    codec: LLMCodec, its folder or hub id; None: the one inside the package.
    llm: FrozenLLM, its folder or hub id; None: the default language model.
    template: a TaskTemplate, the name of one in the package, or a YAML file.
    scorer: "knn" (every clip read alone, then compared), "channel" (one class's demonstrations per context) or "direct"
        (all in one prompt, then the label).
    layers: names of the codec's layers whose words are used; None: those of the template.

    A clip is a path, an array or tensor ([T] or [channels, T] at the codec's sample rate), or the AudioCodes of one.
    """

    def __init__(
        self,
        codec: LLMCodec | str | Path | None = None,
        llm: FrozenLLM | str | Path | None = None,
        template: TaskTemplate | str | Path = "sound",
        scorer: str = "knn",
        layers: Sequence[str] | None = None,
    ) -> None:
        self.codec = codec
        self.llm = llm
        self.template = template
        self.scorer = scorer
        self.layers = layers

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.no_validation = True  # clips are no table of numbers
        return tags

    def fit(self, clips: Iterable[Clip], y: Iterable[Any]) -> FewShotClassifier:
        """Take in the demonstrations and a label for each.

        ConfigError: counts differ, one class only, labels that name no classes; PromptError: they do not fit.
        """
        clips, labels = list(clips), self._labels(y)
        if len(clips) != len(labels):
            raise ConfigError(f"{len(clips)} demonstrations need as many labels, not {len(labels)}")
        self.classes_ = np.unique(labels)
        if len(self.classes_) < 2:
            raise ConfigError(f"demonstrations of two classes or more are needed, not of {len(self.classes_)} class")
        self.codec_ = self.codec if isinstance(self.codec, LLMCodec) else LLMCodec.from_pretrained(self.codec)
        self.llm_ = load_llm(self.llm) if self.llm is None or isinstance(self.llm, (str, Path)) else self.llm
        template = self.template if isinstance(self.template, TaskTemplate) else load_template(self.template)
        template = with_layers(template, self.layers)
        self.builder_ = PromptBuilder(template, self.llm_, self.codec_.vocabularies, self.codec_.layer_names)
        self.scorer_ = build_scorer(self.scorer, self.builder_, WordSpace(self.codec_, template.layers))
        words = [self.builder_.word_ids(codes) for codes in self.encode(clips)]
        by_class = [[row for row, label in zip(words, labels, strict=True) if label == name] for name in self.classes_]
        self.scorer_.fit(by_class, [str(name) for name in self.classes_])
        return self

    @staticmethod
    def _labels(y: Iterable[Any]) -> np.ndarray:
        if y is None:
            raise ConfigError("fit requires y to be passed: a label for each clip, but the target y is None")
        try:
            labels = column_or_1d(np.asarray(y if hasattr(y, "__array__") else list(y)), warn=True)
            check_classification_targets(labels)
        except ValueError as error:
            raise ConfigError(f"labels: {first_line(error)}") from error
        return labels

    def decision_function(self, clips: Iterable[Clip]) -> np.ndarray:
        """Scores [N, C] in the order of `classes_`: larger is likelier."""
        check_is_fitted(self)
        queries = [self.builder_.word_ids(codes) for codes in self.encode(clips)]
        if not queries:
            return np.zeros((0, len(self.classes_)))
        return self.scorer_.scores(queries).numpy()

    def predict_proba(self, clips: Iterable[Clip]) -> np.ndarray:
        """Probabilities [N, C] in the order of `classes_`."""
        return torch.from_numpy(self.decision_function(clips)).double().softmax(-1).numpy()

    def predict(self, clips: Iterable[Clip]) -> np.ndarray:
        """The likeliest class of each clip [N]; of classes that differ by rounding alone, the first."""
        scores = self.decision_function(clips)
        return self.classes_[(scores >= scores.max(1, keepdims=True) - ROUNDING).argmax(1)]

    def explain(self, clips: Iterable[Clip], top: int = 5) -> list[list[tuple[str, Any, float]]]:
        """For each clip the `top` words that spoke the most: word, the class it spoke for, and by how much it raised
        the score of that class above the mean of all. ConfigError for another scorer than knn."""
        check_is_fitted(self)
        if not isinstance(self.scorer_, NeighbourScorer):
            raise ConfigError(f"scorer {self.scorer!r} cannot say which words spoke; knn can")
        words, found = self.builder_.words, []
        for codes in self.encode(clips):
            parts = self.scorer_.parts(self.builder_.word_ids(codes))
            rows = []
            for token, added in parts.items():
                place = int(added.argmax())
                rows.append((words[token], self.classes_[place], float(added[place] - added.mean())))
            found.append(sorted(rows, key=lambda row: -row[2])[:top])
        return found

    def encode(self, clips: Iterable[Clip]) -> list[AudioCodes]:
        """Clips -> AudioCodes of one clip each; AudioCodes pass through."""
        clips = list(clips)
        found: dict[int, AudioCodes] = {n: clip for n, clip in enumerate(clips) if isinstance(clip, AudioCodes)}
        waiting = [number for number in range(len(clips)) if number not in found]
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            codes = self.codec_.encode([load_audio(clips[n], self.codec_.sample_rate) for n in batch])
            found.update({number: codes[row] for row, number in enumerate(batch)})
        return [found[number] for number in range(len(clips))]
