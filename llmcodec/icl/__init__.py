"""In-context learning: a frozen language model reads a few labelled clips and names another."""

from llmcodec.icl.classifier import FewShotClassifier
from llmcodec.icl.scorers import SCORERS, ChannelScorer, DirectScorer, NeighbourScorer, Scorer, build_scorer

__all__ = [
    "SCORERS",
    "ChannelScorer",
    "DirectScorer",
    "FewShotClassifier",
    "NeighbourScorer",
    "Scorer",
    "build_scorer",
]
