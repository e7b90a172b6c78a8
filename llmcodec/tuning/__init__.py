"""An optional warm-up: low-rank adapters that teach a language model to learn from demonstrations of audio words."""

from llmcodec.tuning.lessons import Lessons, hold_out_labels
from llmcodec.tuning.lora import TuneSettings, tune

__all__ = ["Lessons", "TuneSettings", "hold_out_labels", "tune"]
