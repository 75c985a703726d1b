"""Numbers and lists as pages and tables write them."""

from __future__ import annotations

from collections.abc import Sequence

DASH = "–"  # where there is nothing to report


def percent(share: float | None, digits: int = 1) -> str:
    """``73.9 %``; a dash for None or NaN."""
    return DASH if share is None or share != share else f"{100 * share:.{digits}f} %"


def points(share: float) -> str:
    """A difference of shares in percentage points, with its sign."""
    text = f"{100 * share:+.1f}".replace("-", "−")
    return "0.0" if text in ("+0.0", "−0.0") else text


def number(count: float | None) -> str:
    """``12,345``; a dash for None."""
    return DASH if count is None else f"{count:,.0f}"


def kilobytes(count: float) -> str:
    """A size in memory."""
    return f"{count / 1024:,.1f} KiB" if count >= 1024 else f"{count:,.0f} B"


def sentence(text: str) -> str:
    """Text with a capital at its beginning."""
    return text[:1].upper() + text[1:]


def listed(words: Sequence[str]) -> str:
    """``a, b and c``."""
    return _joined(words, " and ")


def either(words: Sequence[str]) -> str:
    """``a, b or c``."""
    return _joined(words, " or ")


def _joined(words: Sequence[str], last: str) -> str:
    return last.join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
