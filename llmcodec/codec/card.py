"""The model card that goes with a codec to the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from huggingface_hub import ModelCard, ModelCardData

if TYPE_CHECKING:
    from llmcodec.codec.model import LLMCodec

TEXT = """
# {title}

A codec whose codebooks are words of a language model, for the package `llmcodec`: it turns sound into words that a
frozen language model can read, and words back into sound.

```python
from llmcodec import FewShotClassifier, LLMCodec, load_audio

codec = LLMCodec.from_pretrained("{repository}")
codes = codec.encode(load_audio("clip.wav"))
wave = codec.decode(codes)[0]
classifier = FewShotClassifier(codec).fit(["dog1.wav", "rain1.wav"], ["dog", "rain"])
```

On the command line: `llmcodec words clip.wav --codec {repository}`.

| layer | words a second | different words | for example |
| --- | --- | --- | --- |
{layers}

| | |
| --- | --- |
| input | mono, {rate} Hz, any length |
| all layers | {tokens:.1f} words a second, at most {bits:.0f} bit/s |
| backbone | `{backbone}`, {parameters:.1f} million parameters |
| licence | {licence} |

## Training data

{training_data}
"""
UNKNOWN = "Not stated. Whoever trained this codec knows: see `model_card_kwargs` of `push_to_hub`."


def model_card(
    codec: LLMCodec,
    repository: str = "FOLDER",
    training_data: str = UNKNOWN,
    license: str = "apache-2.0",  # the name that the hub gives it
) -> ModelCard:
    """What the codec says of itself; `training_data` and `license` are for its trainer to tell.

    repository: the hub id, or folder, that the examples load it from.
    """
    layers = [
        f"| {name} | {codec.frame_rate / stride:.1f} | {len(vocabulary)} | {', '.join(vocabulary.words[:5])} |"
        for name, stride, vocabulary in zip(codec.layer_names, codec.strides, codec.vocabularies, strict=True)
    ]
    text = TEXT.format(
        title=repository.rsplit("/", 1)[-1],
        repository=repository,
        layers="\n".join(layers),
        rate=codec.sample_rate,
        tokens=codec.tokens_per_second,
        bits=codec.bits_per_second,
        backbone=codec.config.backbone.kind,
        parameters=sum(parameter.numel() for parameter in codec.parameters()) / 1e6,
        licence=license,
        training_data=training_data,
    )
    data = ModelCardData(library_name="llmcodec", license=license, tags=["audio", "codec", "llmcodec"])
    return ModelCard(f"---\n{data.to_yaml()}\n---\n{text}")
