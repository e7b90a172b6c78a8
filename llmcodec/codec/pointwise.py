"""A linear map of every step."""

from __future__ import annotations

from torch import Tensor, nn


class Pointwise(nn.Linear):
    """`Linear` on [B, T, width]. On a CPU it runs as a convolution of size 1, which oneDNN computes: twice as fast as
    the matrix product where MKL does not know the processor."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return super().forward(x)
        image = x.transpose(1, 2).unsqueeze(2)  # [B, width, 1, T] in channels-last order: nothing moves
        return nn.functional.conv2d(image, self.weight[:, :, None, None], self.bias).squeeze(2).transpose(1, 2)
