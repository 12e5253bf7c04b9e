"""The Accept header (RFC 9110 section 12.5.1): which media types a client takes, and how much it wants each."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from flask import request

_BLANKS = " \t"
_WORD = r"[!#$%&'+\-.^_`|~0-9a-z]+"
# Beyond the standard: `*` for `*/*`. Quoted values of parameters are not understood.
_RANGE = re.compile(rf"\*|\*/\*|{_WORD}/(?:\*|{_WORD})")
_WORD_ALONE = re.compile(_WORD)
# Beyond the standard: `.2`, `1.`, and any number of digits.
_QUALITY = re.compile(r"(?=\.?[0-9])[0-9]*\.?[0-9]*")


@lru_cache(maxsize=256)
def parse_accept(header: str) -> tuple[Mapping[str, float], bool]:
    """Return the quality of each media range in an Accept header, and whether all of the header was understood.

    Of the parameters only `q` counts. A range that is not understood is left out.
    """
    ranges: dict[str, float] = {}
    is_understood = True
    for text in header.lower().split(","):
        if not text.strip(_BLANKS):
            # RFC 9110 section 5.6.1 allows empty elements.
            continue
        # Split before any pattern is applied, so that the time is linear in the length of the header.
        name, *parameters = (part.strip(_BLANKS) for part in text.split(";"))
        quality = _parse_quality(parameters) if _RANGE.fullmatch(name) else None
        if quality is None:
            is_understood = False
            continue
        name = "*/*" if name == "*" else name
        ranges[name] = max(quality, ranges.get(name, 0.0))
    return ranges, is_understood


def _parse_quality(parameters: Sequence[str]) -> float | None:
    """Return the weight among the parameters of a range, 1 if there is none, or None if they are not understood.

    Beyond the standard, a parameter may be empty or lack a value, and white space may surround the "=".
    """
    weights = []
    for parameter in filter(None, parameters):
        name, equals, value = (part.strip(_BLANKS) for part in parameter.partition("="))
        if not _WORD_ALONE.fullmatch(name) or (equals and not _WORD_ALONE.fullmatch(value)):
            return None
        if name == "q":
            weights.append(value)
    if not weights:
        return 1.0
    if len(weights) > 1 or not _QUALITY.fullmatch(weights[0]):
        return None
    quality = float(weights[0])
    return quality if quality <= 1 else None


def quality_of(ranges: Mapping[str, float], media_type: str) -> float:
    """Return the quality of a media type: that of the most specific range that includes it, 0 for none."""
    for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def excludes_json(header: str) -> bool:
    """Return whether an Accept header has media ranges, all of them were understood, and none allows JSON."""
    ranges, is_understood = parse_accept(header)
    if not ranges or not is_understood:
        return False
    # A client that names the media type of problems takes JSON too.
    return not quality_of(ranges, "application/json") and not ranges.get("application/problem+json")


def prefers(media_type: str, other: str) -> bool:
    """Return whether the client of this request wants a media type more than another one."""
    ranges, _ = parse_accept(request.environ.get("HTTP_ACCEPT", ""))
    return quality_of(ranges, media_type) > quality_of(ranges, other)
