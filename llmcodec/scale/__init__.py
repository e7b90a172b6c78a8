"""Many clips: folders, datasets and shards of audio as Parquet shards of words."""

from llmcodec.scale.tokenize import Tokenization

__all__ = ["Tokenization"]
