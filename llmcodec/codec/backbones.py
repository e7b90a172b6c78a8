"""The backbones by name: what encodes a waveform to a latent, and what decodes it.

An encoder takes (wave [B, T], mask [B, F, 1]) and gives (latent [B, F, latent_dim], context [B, F / stride, width] or
None). A decoder takes (latent, mask, place, guide), where `place` tells of what lies before in the clip and `guide` of
the original, in training, and gives a `Decoded`. The `reach` of each is how many frames on either side can change an
output.
"""

from __future__ import annotations

from llmcodec.codec.config import CodecConfig, ConvConfig
from llmcodec.codec.conv import ConvDecoder, ConvEncoder
from llmcodec.codec.spectral import SpectralDecoder, SpectralEncoder


def build_backbone(
    config: CodecConfig,
) -> tuple[SpectralEncoder | ConvEncoder, SpectralDecoder | ConvDecoder]:
    """Encoder and decoder of `config.backbone`, with random weights."""
    net = config.backbone
    if isinstance(net, ConvConfig):
        return ConvEncoder(config, net), ConvDecoder(config, net)
    return SpectralEncoder(config, net), SpectralDecoder(config, net)
