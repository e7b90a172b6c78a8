"""Where a model runs and in which number type."""

from __future__ import annotations

from pathlib import Path

import torch

from llmcodec.errors import ModelError


def device_named(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ModelError(f"device {name!r} is unknown: use auto, cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ModelError(f"device {name!r} is not on this machine, which has {torch.cuda.device_count()} CUDA devices")
    return device


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" or _cpu_has_bfloat16() else torch.float32
    kinds = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in kinds:
        raise ModelError(f"dtype {name!r} is unknown: use auto, {', '.join(kinds)}")
    return kinds[name]


def _cpu_has_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16 (AVX-512 BF16, AMX or Arm), rather than emulating it slowly."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        return not {"avx512_bf16", "amx_bf16", "bf16"}.isdisjoint(info.read_text().split())
    checks = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(check() for check in checks if check)
