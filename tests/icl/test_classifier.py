from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from llmcodec.codec import AudioCodes, LLMCodec
from llmcodec.errors import ConfigError
from llmcodec.icl import FewShotClassifier
from llmcodec.llm import FakeLLM

Clip = Callable[[list[int]], AudioCodes]


@pytest.fixture
def classifier(tiny_codec: LLMCodec) -> FewShotClassifier:
    return FewShotClassifier(codec=tiny_codec, llm=FakeLLM())


def test_probabilities_name_the_class_whose_words_return(classifier: FewShotClassifier, clip: Clip) -> None:
    classifier.fit([clip([1, 2, 3]), clip([9, 8, 7]), clip([20, 21, 22])], ["dog", "rain", "bell"])
    probabilities = classifier.predict_proba([clip([8, 9]), clip([21, 22, 20])])
    assert classifier.classes_.tolist() == ["bell", "dog", "rain"]
    np.testing.assert_allclose(probabilities.sum(1), 1)
    assert (probabilities >= 0).all()
    assert classifier.predict([clip([8, 9]), clip([21, 22, 20])]).tolist() == ["rain", "bell"]


def test_it_is_a_scikit_learn_estimator(classifier: FewShotClassifier, clip: Clip) -> None:
    assert clone(classifier).get_params()["scorer"] == "knn"
    clips = [clip([1, 2, shift]) for shift in range(3, 7)] + [clip([30, 31, shift]) for shift in range(33, 37)]
    labels = [0] * 4 + [1] * 4
    array = np.empty(len(clips), dtype=object)
    array[:] = clips
    scores = cross_val_score(classifier, array, labels, cv=2)
    assert scores.tolist() == [1.0, 1.0]


# What scikit-learn asks of estimators of tables, and why a classifier of clips does not give it.
NOT_KEPT = {
    "check_estimators_overwrite_params": "joblib's hash of a torch module changes when nothing in it does",
    "check_estimators_dtypes": "samples are floating point or PCM: int64 has no full scale",
    "check_estimator_sparse_array": "a sparse row is refused as what is no audio; the message does not say sparse",
    "check_estimator_sparse_matrix": "a sparse row is refused as what is no audio; the message does not say sparse",
    "check_classifier_data_not_an_array": "clips are iterated over, an object with `__array__` alone cannot be",
    "check_classifiers_classes": "two numbers are no sound to tell classes by",
    "check_classifiers_train": "a list of numbers is refused: a clip is a path, an array, a tensor or codes",
}


def test_scikit_learn_finds_an_estimator(classifier: FewShotClassifier) -> None:
    results = check_estimator(classifier, expected_failed_checks=NOT_KEPT, on_skip=None)
    found = {result["check_name"] for result in results if result["status"] == "xfail"}
    assert found == set(NOT_KEPT) and len(results) > 40


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([0.5, 1.5], "Unknown label type"), (None, "requires y"), ([["a", 1], ["b", 2]], "1d array")],
)
def test_labels_that_name_no_classes_are_refused(
    classifier: FewShotClassifier, clip: Clip, labels: Any, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        classifier.fit([clip([1, 2]), clip([3, 4])], labels)


def test_waveforms_and_their_codes_are_the_same_clip(classifier: FewShotClassifier, tiny_codec: LLMCodec) -> None:
    waves = [torch.randn(8000), torch.randn(5000), torch.randn(7001)]
    classifier.fit(waves[:2], ["a", "b"])
    of_wave = classifier.predict_proba([waves[2], waves[2].numpy()])
    of_codes = classifier.predict_proba([tiny_codec.encode(waves[2])])
    np.testing.assert_allclose(of_wave, np.concatenate([of_codes, of_codes]), rtol=1e-5)


def test_layers_choose_the_words(classifier: FewShotClassifier, clip: Clip) -> None:
    classifier.set_params(layers=["semantic", "coarse"]).fit([clip([1, 2]), clip([3, 4])], ["a", "b"])
    assert len(classifier.builder_.word_ids(clip([1, 2]))) == 2 + 4


def test_words_that_spoke_are_named_with_their_class(
    classifier: FewShotClassifier, clip: Clip, tiny_codec: LLMCodec
) -> None:
    classifier.fit([clip([1, 2, 3]), clip([9, 8, 7])], ["dog", "rain"])
    words = tiny_codec.vocabularies[0].words
    spoke = classifier.explain([clip([9, 1, 9, 30])], top=2)[0]
    assert [(word, name) for word, name, _ in spoke] == [(words[9], "rain"), (words[1], "dog")]
    assert spoke[0][2] > spoke[1][2] > 0


def test_mistakes_are_named(classifier: FewShotClassifier, clip: Clip) -> None:
    with pytest.raises(NotFittedError):
        classifier.predict([clip([1])])
    with pytest.raises(ConfigError, match="two classes"):
        classifier.fit([clip([1]), clip([2])], ["a", "a"])
    with pytest.raises(ConfigError, match="as many labels"):
        classifier.fit([clip([1])], ["a", "b"])
    with pytest.raises(ConfigError, match="scorer"):
        classifier.set_params(scorer="guess").fit([clip([1]), clip([2])], ["a", "b"])
