"""Answer a question in text before the answer is spoken: the same frozen model, and only answers that were shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from llmcodec.errors import PromptError
from llmcodec.llm import FrozenLLM, Prefix

# Worked examples of our own; their answers are colours and names, so that they favour no digit.
EXAMPLES = (
    ("The grass is green. What colour is the grass?", "green"),
    ("Monday, Tuesday, Wednesday, what comes next?", "Thursday"),
    ("What is ten plus ten?", "twenty"),
    ("What is twelve minus one?", "eleven"),
    ("ten, twenty, thirty, what comes next?", "forty"),
    ("What is three times five?", "fifteen"),
    ("Two times a number is twenty four. What is the number?", "twelve"),
)
DOUBT = 0.1  # less than this probability on all demonstrated answers together: the answer is another


@dataclass(frozen=True)
class Answer:
    """text: the likeliest of the answers; chances: of each, summing to 1; covered: how probable they are together."""

    text: str
    chances: dict[str, float]
    covered: float


class Thinker:
    """Asks a model questions whose answer is one of a few texts."""

    def __init__(self, llm: FrozenLLM, answers: Sequence[str]) -> None:
        self.llm, self.answers = llm, tuple(dict.fromkeys(answers))
        shown = "".join(_question(question) + f" {answer}\n" for question, answer in EXAMPLES)
        start = [] if llm.bos_id is None else [llm.bos_id]
        self._ids = [llm.tokenize(f" {answer}\n") for answer in self.answers]
        self._shown: Prefix = llm.prepare([[*start, *llm.tokenize(shown)]])[0]

    def answer(self, question: str) -> Answer:
        """The likeliest answer. PromptError: the model finds none of them probable, or the question does not fit."""
        asked = self.llm.extend([(self._shown, self.llm.tokenize(_question(question)))])[0]
        scores = [float(row.sum()) for row in self.llm.log_likelihood([(asked, ids) for ids in self._ids])]
        chances = torch.tensor(scores).softmax(0).tolist()
        covered = min(1.0, float(torch.tensor(scores).exp().sum()))
        found = Answer(self.answers[max(range(len(scores)), key=scores.__getitem__)],
                       dict(zip(self.answers, chances, strict=True)), covered)  # fmt: skip
        if covered < DOUBT:
            raise PromptError(
                f"{question!r}: the answer is none of the demonstrated texts, by {self.llm.name} "
                f"({covered:.0%} for {listed(self.answers)} together); demonstrate the answer too"
            )
        return found


def listed(texts: Sequence[str], most: int = 12) -> str:
    """The different texts for a message."""
    names = sorted(set(texts))
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _question(text: str) -> str:
    return f"Question: {' '.join(text.split())}\nAnswer:"
