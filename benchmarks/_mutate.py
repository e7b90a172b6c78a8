"""Damage done to files: from (seed, number), so that an offender can be made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

Random = np.random.Generator
HEADER = 96  # bytes in which most formats keep their sizes
LIES = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**64 - 1)
SCRAPS = (
    b"", b"\n", b"\r\n", b"\0", b"\t", b" ", b'"', b"'", b",", b";", b":", b"- ", b"{", b"}", b"[", b"]", b"\\", b"/",
    b"../", b"/etc/passwd", b"{words}", b"{label}", b"{input}", b"{", b"null", b"true", b"-1", b"0", b"1e999", b"nan",
    b"-.inf", b"9" * 5000, b"99999999999999999999", b"2001-99-99", b"!!python/object:os.system x", b"!!binary =", b"? ",
    b"&a ", b"*a", b"<<: *a", b"!!set {a, b}", b"\xff\xfe", b"\xc3\x28", b"\xef\xbb\xbf", b"\x1b[2J",
    "\u202e\u2028".encode(), "\U0001f3b5".encode(), b"a" * 300, b"[" * 3000, b"{a: " * 1000, b'{"a":' * 2000,
    b"llmcodec-codes-2", b'"format": "llmcodec-codec-9"', b"# ", b"|", b">", b"%s", b"%n", b"${x}", b"{{ x }}",
)  # fmt: skip


def mutated(seeds: Sequence[bytes], random: Random, text: bool) -> bytes:
    """One of the seeds, damaged one to four times."""
    content = seeds[int(random.integers(len(seeds)))]
    kinds = [*_ANY, *((_scrap, _scrap, _lines) if text else (_lie, _lie, _lie))]
    for _ in range(random.integers(1, 5)):
        content = kinds[random.integers(len(kinds))](content, random, seeds)
    return content


def _place(content: bytes, random: Random) -> int:
    """Anywhere, every second time near the start."""
    end = len(content) if random.random() < 0.5 else min(HEADER, len(content))
    return int(random.integers(end + 1))


def _flip(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    bits = np.frombuffer(content, np.uint8).copy()
    for _ in range(int(random.integers(1, 9)) if len(bits) else 0):
        bits[min(_place(content, random), len(bits) - 1)] ^= 1 << int(random.integers(8))
    return bits.tobytes()


def _overwrite(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    start, size = _place(content, random), int(random.integers(1, 33))
    return content[:start] + random.bytes(size) + content[start + size :]


def _truncate(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    return content[: _place(content, random)]


def _splice(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    other = seeds[int(random.integers(len(seeds)))]
    return content[: _place(content, random)] + other[_place(other, random) :]


def _repeat(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    start, size = _place(content, random), int(random.integers(1, 257))
    return content[:start] + content[start : start + size] * int(random.integers(2, 9)) + content[start + size :]


def _remove(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    start = _place(content, random)
    return content[:start] + content[start + int(random.integers(1, 65)) :]


def _lie(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    """A number, as sizes, rates and counts are written, that is not true."""
    size = int(random.choice([1, 2, 4, 8]))
    lie = LIES[random.integers(len(LIES))] % 256**size
    start = _place(content, random)
    return content[:start] + lie.to_bytes(size, "little" if random.random() < 0.5 else "big") + content[start + size :]


def _scrap(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    """Text that means something to one parser or another, in place of some."""
    start = int(random.integers(len(content) + 1))
    size = int(random.integers(0, 12)) if random.random() < 0.5 else 0
    return content[:start] + SCRAPS[random.integers(len(SCRAPS))] + content[start + size :]


def _lines(content: bytes, random: Random, seeds: Sequence[bytes]) -> bytes:
    """Lines in another order, one of them twice or left out."""
    lines = content.split(b"\n")
    one = int(random.integers(len(lines)))
    kind = random.integers(3)
    if kind == 0:
        random.shuffle(lines)
    elif kind == 1:
        lines.insert(int(random.integers(len(lines) + 1)), lines[one])
    else:
        del lines[one]
    return b"\n".join(lines)


_ANY: tuple[Callable[[bytes, Random, Sequence[bytes]], bytes], ...] = (
    _flip, _overwrite, _truncate, _splice, _repeat, _remove,
)  # fmt: skip
