"""Cursors: signed positions in a list, opaque to clients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from jwt.utils import base64url_decode, base64url_encode

from app.api.errors import ValidationFailed
from app.components import components
from app.security.keyed_hashes import DIGEST_BYTES

# Longer than that of any sort key of up to 700 code points. Servers accept a request line of 8,190 bytes.
MAX_CURSOR_LENGTH = 4096
NOT_A_CURSOR = "Not a cursor of this list with this sort and these filters."
_PURPOSE = b"cursor"


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a list: the sort key and the id of a row. `backward` asks for the rows before it."""

    value: Any
    id: int
    backward: bool

    def turned(self, *, descending: bool) -> Cursor:
        """Return the cursor for the other direction, whose rows include the one at this position.

        `descending` is the order in which this cursor reads. As a cursor excludes its position, the id moves by one.
        """
        return Cursor(self.value, self.id - 1 if descending else self.id + 1, not self.backward)

    def write(self, binding: bytes) -> str:
        """Return the text of the cursor, signed together with `binding`, what it is valid for."""
        data = orjson.dumps([self.value, self.id, self.backward])
        return base64url_encode(components().keyed_hasher.sign(_PURPOSE, data + binding) + data).decode()


def read_cursor(text: str, binding: bytes, key_type: type) -> Cursor:
    """Return the cursor of a text. Raises ValidationFailed unless this service wrote it with the same binding."""
    try:
        raw = base64url_decode(text)
    except ValueError:
        raw = b""
    signature, data = raw[:DIGEST_BYTES], raw[DIGEST_BYTES:]
    # Base64 has several encodings of the same bytes; only the canonical one is accepted.
    if base64url_encode(raw).decode() != text or not components().keyed_hasher.verify(
        _PURPOSE, data + binding, signature
    ):
        raise ValidationFailed({"cursor": [NOT_A_CURSOR]})
    value, row_id, backward = orjson.loads(data)
    is_time = key_type is datetime and value is not None
    return Cursor(datetime.fromisoformat(value) if is_time else value, row_id, backward)
