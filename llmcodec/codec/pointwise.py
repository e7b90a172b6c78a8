"""A linear map of every step."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


class Pointwise(nn.Linear):
    """`Linear` on [B, T, width], fast on a CPU.

    Without a gradient, weights are brought once into the order in which oneDNN reads them, not in every call: of a
    second of audio that was a third of the time. A weight that changes is ordered anew. Where that is not to be had,
    and with a gradient, it runs as a convolution of size 1, which oneDNN computes: twice as fast as the matrix product
    where MKL does not know the processor.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs)
        self._ordered: tuple[Tensor, int, Tensor] | None = None  # the weight, its version, the same in oneDNN's order

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        if self._can_order(x):
            return torch.ops.mkldnn._linear_pointwise(x, self._order(), self.bias, "none", [], "")
        image = x.transpose(1, 2).unsqueeze(2)  # [B, width, 1, T] in channels-last order: nothing moves
        return nn.functional.conv2d(image, self.weight[:, :, None, None], self.bias).squeeze(2).transpose(1, 2)

    def _can_order(self, x: Tensor) -> bool:
        return not (
            torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu")
            or x.dtype != torch.float32 or self.weight.dtype != torch.float32 or self.weight.is_inference()
        ) and orders_weights()  # fmt: skip

    def _order(self) -> Tensor:
        weight, known = self.weight.detach(), self._ordered
        if known is None or known[0].data_ptr() != weight.data_ptr() or known[1] != weight._version:
            self._ordered = known = (weight, weight._version, torch.ops.mkldnn._reorder_linear_weight(weight))
        return known[2]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_ordered": None}  # a copy orders its own


@cache
def orders_weights() -> bool:
    """Whether this torch can order weights beforehand, on this processor, and gets the right product of them."""
    if not torch.backends.cpu.get_cpu_capability().startswith("AVX"):
        return False
    x, weight, bias = (torch.linspace(-1, 1, n) for n in (24, 40, 5))
    x, weight = x.reshape(1, 3, 8), weight.reshape(5, 8)
    try:
        ordered = torch.ops.mkldnn._reorder_linear_weight(weight)
        found = torch.ops.mkldnn._linear_pointwise(x, ordered, bias, "none", [], "")
    except (AttributeError, RuntimeError):
        return False
    return torch.allclose(found, nn.functional.linear(x, weight, bias), atol=1e-5)
