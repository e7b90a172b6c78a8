"""How what chooses the words begins: with the front of the Whisper that it learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from llmcodec.codec.listener import Listener, ListenerLayer
from llmcodec.errors import ConfigError, first_line
from llmcodec.teachers import AudioTeacher


@torch.no_grad()
def inherit(listener: Listener, teacher: AudioTeacher, waves: Sequence[Tensor]) -> None:
    """Give `listener` the convolutions of the teacher's encoder and as many of its layers as both have.

    The weight of a head and a distance in time becomes the mean attention that the teacher's head pays to that distance
    in `waves` (float32 [T] at 16 kHz, 30 s at most); what it knows of positions becomes their mean. ConfigError when
    the sizes differ.
    """
    encoder, layers = teacher.encoder, [*listener.fast, *listener.slow]
    kernels = [0 * layer.get_parameter("mix_time.weight") for layer in layers]
    steps = 0
    for wave in waves:
        inputs = layer_inputs(teacher, wave)
        steps = max(steps, len(inputs[0]))
        for number, (kernel, theirs, hidden) in enumerate(zip(kernels, encoder.layers, inputs, strict=False)):
            pool = 1 if number < len(listener.fast) else listener.net.listener_pool
            try:
                kernel += by_distance(attention(theirs, hidden), kernel.shape[1], pool)
            except RuntimeError as error:
                raise _misfit(error) from error
    try:
        listener.front.load_state_dict(encoder.conv1.state_dict())
        listener.halve.load_state_dict(encoder.conv2.state_dict())
        listener.bias.copy_(encoder.embed_positions.weight[:steps].mean(0))
        for mine, theirs, kernel in zip(layers, encoder.layers, kernels, strict=False):
            assert isinstance(mine, ListenerLayer)
            for to, source in (
                (mine.time_norm, theirs.self_attn_layer_norm), (mine.mix_time.value, theirs.self_attn.v_proj),
                (mine.mix_time.out, theirs.self_attn.out_proj), (mine.step_norm, theirs.final_layer_norm),
                (mine.expand, theirs.fc1), (mine.reduce, theirs.fc2),
            ):  # fmt: skip
                to.load_state_dict(source.state_dict())
            mine.mix_time.weight.copy_(nn.functional.normalize(kernel, p=1, dim=1))
    except RuntimeError as error:
        raise _misfit(error) from error


def layer_inputs(teacher: AudioTeacher, wave: Tensor) -> list[Tensor]:
    """What goes into each layer of the teacher as it hears a wave: [n, dim]."""
    found: list[Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(lambda module, given: found.append(given[0][0]))
        for layer in teacher.encoder.layers
    ]
    try:
        teacher.features([wave])
    finally:
        for hook in hooks:
            hook.remove()
    return found


def attention(layer: Any, hidden: Tensor) -> Tensor:
    """hidden [n, dim], what goes into a Whisper layer -> how much each step looks at each other: [heads, n, n]."""
    mine = layer.self_attn
    normed = layer.self_attn_layer_norm(hidden)
    query, key = (
        projection(normed).unflatten(1, (mine.num_heads, -1)).transpose(0, 1)
        for projection in (mine.q_proj, mine.k_proj)
    )
    return (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1)


def by_distance(shares: Tensor, kernel: int, pool: int) -> Tensor:
    """Attention [heads, n, n] -> its mean part for each distance of key behind query, in units of `pool` steps; those
    beyond half the kernel are left out: [heads, kernel]."""
    steps = torch.arange(shares.shape[-1])
    place = ((steps - steps[:, None]) / pool).round().long() + kernel // 2
    near = (place >= 0) & (place < kernel)
    return shares.new_zeros(len(shares), kernel).index_add_(1, place[near], shares[:, near]) / len(steps)


def _misfit(error: RuntimeError) -> ConfigError:
    return ConfigError(
        f"recipe field semantic.inherit: the backbone's listener is not of the audio teacher's sizes "
        f"({first_line(error)})"
    )
