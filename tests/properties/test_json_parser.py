"""Properties of the JSON parser: compared with its specification and another parser, and with arbitrary bytes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote, urlencode

import orjson
import pytest
from flask.testing import FlaskClient
from hypothesis import assume, example, given
from hypothesis import strategies as st

from app.api.errors import MalformedRequest, ValidationFailed
from app.api.json_parser import MAX_DEPTH, MAX_QUERY_PARAMETERS, parse_json, parse_query
from tests.conftest import API, Person
from tests.properties.examples import examples

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner), max_leaves=12)
# Parts of JSON documents in any order, so that most of the examples are almost JSON.
WORDS = """null true false "a" "a": "\\u0061": \\ud800 "\\uD83D\\uDE00" 1e999 NaN Infinity - 0x1 99999999999999999999 é
\ufeff {"a":1,"a":2}"""
PIECES = st.sampled_from([*WORDS.split(), *'{}[],:"\\ \n\t0123456789.eE+-/u']).map(str.encode)
SPACES = st.text(" \t\n\r", max_size=3)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """Write a document with any white space, and with its characters literal or escaped."""
    value = draw(VALUES)
    text = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.none() | st.integers(0, 3)))
    return (draw(SPACES) + text + draw(SPACES)).encode()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """Return a document with a part of it replaced by other bytes."""
    data = draw(documents())
    start = draw(st.integers(0, len(data)))
    end = draw(st.integers(start, min(start + 4, len(data))))
    return data[:start] + draw(st.binary(max_size=4) | PIECES) + data[end:]


ANY_BYTES = st.binary(max_size=40) | st.lists(PIECES, max_size=14).map(b"".join) | damaged()


def is_same(ours: Any, theirs: Any) -> bool:
    """Return whether two parsers agree; the other one returns floats for integers of more than 64 bits."""
    if isinstance(ours, dict):
        return (
            isinstance(theirs, dict) and ours.keys() == theirs.keys() and all(is_same(ours[k], theirs[k]) for k in ours)
        )
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(is_same, ours, theirs))
    if type(ours) is int and type(theirs) is float:
        return not -(2**63) <= ours < 2**64 and float(ours) == theirs
    return type(ours) is type(theirs) and ours == theirs


def is_encodable(value: Any) -> bool:
    """Return whether no string has a lone surrogate. The parser accepts those; the fields of schemas refuse them."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@examples(150)
@given(VALUES, st.booleans())
def test_a_document_is_parsed_to_its_value(value: Any, is_ascii: bool) -> None:
    read = parse_json(json.dumps(value, ensure_ascii=is_ascii).encode())
    # Equality is not enough: 1 == 1.0 == True.
    assert json.dumps(read) == json.dumps(value)


@examples(400)
@given(ANY_BYTES)
@example(b'{"a": "\\ud800"}')
@example(b"1e999")
@example(b"[-0]")
def test_any_bytes_are_parsed_as_by_another_parser_or_refused(data: bytes) -> None:
    try:
        ours = parse_json(data)
    except MalformedRequest:
        ours = MalformedRequest
    try:
        theirs = orjson.loads(data)
    except orjson.JSONDecodeError:
        assert ours is MalformedRequest or not is_encodable(ours)
        return
    if ours is MalformedRequest:
        # Of the contract's reasons for a stricter parser, only this one applies to so few bytes.
        assert has_repeated_name(data)
        return
    assert is_same(ours, theirs)


def has_repeated_name(data: bytes) -> bool:
    """Return whether an object in a document has a duplicate name."""
    seen: list[bool] = []

    def look(pairs: list[tuple[str, Any]]) -> None:
        seen.append(len({name for name, _ in pairs}) < len(pairs))

    json.loads(data, object_pairs_hook=look)
    return any(seen)


@examples(100)
@given(documents(), st.data())
def test_a_part_of_a_document_is_refused(document: bytes, data: st.DataObject) -> None:
    whole = document.strip()
    assume(whole[:1] in (b"{", b"[", b'"'))
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(MalformedRequest):
        parse_json(whole[:cut])


WRAPPERS = st.lists(
    st.sampled_from(["[{}]", '["]", {}]', '{{"k": {}}}', '{{"[": 1, "k": {}}}', "[[], {{}}, {}]"]), max_size=8
)


def wrapped(value: str, wrappers: list[str]) -> bytes:
    """Return a value nested in arrays and objects."""
    for wrapper in wrappers:
        head, _, tail = wrapper.rpartition("{}")
        value = head.replace("{{", "{").replace("}}", "}") + value + tail.replace("}}", "}")
    return value.encode()


@examples(100)
@given(st.dictionaries(TEXT, SCALARS, min_size=1, max_size=4), WRAPPERS, st.data())
def test_a_duplicate_name_is_refused_in_any_spelling(
    members: dict[str, Any], wrappers: list[str], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    spelt = json.dumps(name, ensure_ascii=data.draw(st.booleans()))
    if name and name[0] < "\ud800" and data.draw(st.booleans()):
        spelt = f'"\\u{ord(name[0]):04x}{json.dumps(name[1:])[1:]}'
    pairs = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in members.items()]
    assert parse_json(wrapped("{" + ", ".join(pairs) + "}", wrappers))
    pairs.insert(data.draw(st.integers(0, len(pairs))), f"{spelt}: 1")
    with pytest.raises(MalformedRequest):
        parse_json(wrapped("{" + ", ".join(pairs) + "}", wrappers))


@examples(100)
@given(st.integers(1, MAX_DEPTH + 20), st.data())
def test_the_depth_is_that_of_brackets_outside_of_strings(depth: int, data: st.DataObject) -> None:
    levels = data.draw(
        st.lists(st.sampled_from(["[{}]", '{{"k": {}}}', '["[[\\"{{", {}]']), min_size=depth, max_size=depth)
    )
    text = wrapped('"' + data.draw(st.text("[{]}", max_size=90)) + '"', levels)
    if depth <= MAX_DEPTH:
        assert parse_json(text)
    else:
        with pytest.raises(MalformedRequest):
            parse_json(text)


@examples(100)
@given(st.lists(st.tuples(TEXT, TEXT), max_size=8))
def test_a_query_string_is_parsed_to_its_parameters(pairs: list[tuple[str, str]]) -> None:
    encoded = urlencode(pairs, quote_via=quote).encode()
    names = [name for name, _ in pairs]
    if len(set(names)) == len(names):
        assert parse_query(encoded) == dict(pairs)
    else:
        with pytest.raises(ValidationFailed) as caught:
            parse_query(encoded)
        assert caught.value.errors.keys() == {name for name in names if names.count(name) > 1}


@examples(200)
@given(st.binary(max_size=60) | st.text("&=%+a0;é", max_size=250).map(str.encode))
def test_any_query_string_is_parsed_or_refused(data: bytes) -> None:
    try:
        values = parse_query(data)
    except (MalformedRequest, ValidationFailed):
        return
    assert len(values) <= MAX_QUERY_PARAMETERS
    assert parse_query(urlencode(values).encode()) == values


@examples(60)
@given(ANY_BYTES)
def test_no_body_causes_a_500(alice: Person, data: bytes) -> None:
    response = alice.patch(f"/users/{alice.id}", data=data, content_type="application/json")
    assert response.status_code in (200, 400, 422), response.text


LONG_TEXT = st.text(st.characters(exclude_categories=["Cc", "Cs"]) | st.sampled_from("\t\n\r"), max_size=60)


@examples(40)
@given(LONG_TEXT)
@example("\u2028\U0001f9ff\u202e")
def test_text_is_returned_as_it_was_sent(alice: Person, client: FlaskClient, bio: str) -> None:
    changed = alice.patch(f"/users/{alice.id}", json={"bio": bio})
    assert changed.status_code == 200, changed.text
    assert client.get(f"{API}/users/{alice.id}").get_json()["bio"] == bio


@examples(30)
@given(st.dictionaries(st.sampled_from(["name", "bio", "role", "is_active", "id", "email"]) | TEXT, VALUES))
def test_other_json_is_refused_as_a_profile(bob: Person, changes: dict[str, Any]) -> None:
    before = bob.get("/auth/me").get_json()
    response = bob.patch(f"/users/{bob.id}", json=changes)
    after = bob.get("/auth/me").get_json()
    assert response.status_code in (200, 403, 422)
    taken = {name for name in ("name", "bio") if after[name] != before[name]}
    assert taken <= changes.keys()
    assert all(after[name] == changes[name] for name in taken)
    assert response.status_code == 200 or not taken
    assert {k: v for k, v in after.items() if k not in ("name", "bio", "updated_at")} == {
        k: v for k, v in before.items() if k not in ("name", "bio", "updated_at")
    }
