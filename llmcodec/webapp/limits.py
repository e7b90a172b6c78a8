"""What one request may ask for, and how many are worked on at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from llmcodec.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Bounds that keep a server small and answering; the defaults suit a laptop with two cores.

    upload_bytes: of one request, all files together. seconds: of one clip. clips: of one request.
    generated_seconds: of audio that the language model writes. workers: requests worked on at once; queue: requests
    that wait for a worker, one more is refused. timeout: seconds until a request is answered, and to receive it.

    ConfigError names a field that is not above 0 (queue may be 0) or not finite.
    """

    upload_bytes: int = 32 * 2**20
    seconds: float = 60.0
    clips: int = 64
    generated_seconds: float = 10.0
    workers: int = 2
    queue: int = 16
    timeout: float = 120.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and (value > 0 or field.name == "queue" and value == 0)):
                raise ConfigError(f"{field.name}: {value} must be above 0 and finite")
