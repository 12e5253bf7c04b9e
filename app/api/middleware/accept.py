"""The Accept header (RFC 9110 section 12.5.1): which media types a client takes, and how much it wants each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache

from flask import request

_WORD = r"[!#$%&'+\-.^_`|~0-9a-z]+"
# Beyond the standard: `*` for `*/*`, empty parameters, and white space around `=`. Quoted values are not understood.
_PARAMETER = rf"[ \t]*;[ \t]*(?:{_WORD}(?:[ \t]*=[ \t]*{_WORD})?)?"
_RANGE = re.compile(rf"(\*|\*/\*|{_WORD}/(?:\*|{_WORD}))((?:{_PARAMETER})*)")
_WEIGHT = re.compile(r";[ \t]*q\b(?:[ \t]*=[ \t]*)?([^ \t;]*)")
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
        element = text.strip(" \t")
        if not element:
            # RFC 9110 section 5.6.1 allows empty elements.
            continue
        match = _RANGE.fullmatch(element)
        quality = _parse_quality(match[2]) if match else None
        if match is None or quality is None:
            is_understood = False
            continue
        name = "*/*" if match[1] == "*" else match[1]
        ranges[name] = max(quality, ranges.get(name, 0.0))
    return ranges, is_understood


def _parse_quality(parameters: str) -> float | None:
    """Return the weight among the parameters of a range, 1 if there is none, or None if it is not understood."""
    weights = _WEIGHT.findall(parameters) or ["1"]
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
