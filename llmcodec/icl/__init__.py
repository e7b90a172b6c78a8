"""In-context learning: a frozen language model reads a few labelled clips and names another."""

from llmcodec.icl.base import Scorer
from llmcodec.icl.channel import ChannelScorer
from llmcodec.icl.classifier import FewShotClassifier
from llmcodec.icl.direct import DirectScorer, PaperScorer
from llmcodec.icl.neighbour import NeighbourScorer
from llmcodec.icl.scorers import SCORERS, EnsembleScorer, build_scorer

__all__ = [
    "SCORERS",
    "ChannelScorer",
    "DirectScorer",
    "EnsembleScorer",
    "FewShotClassifier",
    "NeighbourScorer",
    "PaperScorer",
    "Scorer",
    "build_scorer",
]
