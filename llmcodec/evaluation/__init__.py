"""Measuring: labelled folders, few-shot episodes, baselines, metrics with their uncertainty, reports."""

from llmcodec.evaluation.dataset import LabelledFolder, read_labelled
from llmcodec.evaluation.episodes import Episode, draw_episodes, load_episodes, save_episodes
from llmcodec.evaluation.fewshot import FewShotEvaluation, evaluate_fewshot
from llmcodec.evaluation.report import Answer, Report, Row

__all__ = [
    "Answer",
    "Episode",
    "FewShotEvaluation",
    "LabelledFolder",
    "Report",
    "Row",
    "draw_episodes",
    "evaluate_fewshot",
    "load_episodes",
    "read_labelled",
    "save_episodes",
]
