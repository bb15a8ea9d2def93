"""What a dataset is checked against: as much as a preset and a family say, else what holds for most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

Size = tuple[int, int]
CLIP_TOKENS = 75
"""77 with the two that CLIP adds itself."""
T5_TOKENS = 512


class Fit(Protocol):
    """Where an image lands: scaled to ``resized``, cut to ``bucket``."""

    @property
    def bucket(self) -> Size: ...

    @property
    def resized(self) -> Size: ...

    @property
    def scale(self) -> float: ...


class TokenLimit(NamedTuple):
    """How much of a caption the text encoder reads."""

    tokens: int
    encoder: str


T5_LIMIT, CLIP_LIMIT = TokenLimit(T5_TOKENS, "T5"), TokenLimit(CLIP_TOKENS, "CLIP")


@dataclass(frozen=True)
class Advice:
    """``subject`` is the preset's: identity, style or any; ``fit`` is None where no buckets are known."""

    subject: str = "any"
    trigger: str | None = None
    resolution: int = 768
    fit: Callable[[Size], Fit] | None = None
    token_limit: TokenLimit = T5_LIMIT
    caption_extension: str = ".txt"
