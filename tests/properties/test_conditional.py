"""Properties of entity tags: the comparison with lists of tags (RFC 9110 section 13), and the tags of resources."""

from __future__ import annotations

from typing import Any

from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from app.api.conditional import etag_of, is_not_modified
from app.api.errors import PreconditionFailed
from tests.conftest import Person, problem
from tests.properties.examples import examples

PLAIN = Flask(__name__)
OPAQUE = st.text(
    st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters='"\x7f', exclude_categories=["Cc"]),
    max_size=6,
)
MARKED = st.tuples(st.sampled_from(["", "W/"]), OPAQUE | st.sampled_from([",", ", ", "*", "W/", "a"]))
COMMAS = st.sampled_from([",", ", ", " ,", ",\t", ", ,", ",,"])


def holds(header: str, etag: str) -> tuple[bool, bool]:
    """Return whether If-None-Match with this text matches the tag, and whether If-Match does."""
    with PLAIN.test_request_context(environ_overrides={"HTTP_IF_NONE_MATCH": header}):
        weakly = is_not_modified(etag)
    with PLAIN.test_request_context(environ_overrides={"HTTP_IF_MATCH": header}):
        try:
            is_not_modified(etag)
        except PreconditionFailed:
            return weakly, False
    return weakly, True


@examples(200)
@given(st.lists(MARKED.filter(lambda tag: " " not in tag[1]), min_size=1, max_size=5), st.data())
def test_a_list_matches_the_tags_that_it_contains(tags: list[tuple[str, str]], data: st.DataObject) -> None:
    header = data.draw(st.sampled_from(["", " ", "\t", ", "])) + "".join(
        f'{mark}"{opaque}"{data.draw(COMMAS)}' for mark, opaque in tags
    )
    for opaque in {opaque for _, opaque in tags}:
        assert holds(header, f'"{opaque}"') == (True, ("", opaque) in tags)
    other = data.draw(OPAQUE)
    if other not in {opaque for _, opaque in tags}:
        assert holds(header, f'"{other}"') == (False, False)


@examples(200)
@given(st.text(st.sampled_from('W/"*, ab\\\x80é')), st.binary(max_size=3))
def test_other_text_does_not_match_a_tag(header: str, body: bytes) -> None:
    etag = etag_of(body)
    everything = header.strip() == "*"
    assert holds(header, etag) == (everything, everything)


@examples(100)
@given(st.binary(max_size=8), st.binary(max_size=8))
def test_a_tag_is_that_of_its_bytes(one: bytes, other: bytes) -> None:
    assert (etag_of(one) == etag_of(other)) == (one == other)
    assert etag_of(one, weak=True) == f"W/{etag_of(one)}"


CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "title": st.sampled_from(["One", "Two"]),
        "content": st.sampled_from(["Text", "More"]),
        "status": st.sampled_from(["draft", "published"]),
    },
)


@examples(15)
@given(st.lists(st.tuples(CHANGES, st.integers(0, 3)), min_size=1, max_size=6))
def test_a_write_succeeds_if_its_tag_is_that_of_the_current_representation(
    alice: Person, steps: list[tuple[dict[str, Any], int]]
) -> None:
    created = alice.post("/posts", json={"title": "One", "content": "Text"})
    path = f"/posts/{created.get_json()['id']}"
    seen = {created.headers["ETag"]: created.get_json()}
    tags = [created.headers["ETag"]]
    for changes, age in steps:
        tag = tags[-1 - min(age, len(tags) - 1)]
        response = alice.patch(path, json=changes, headers={"If-Match": tag})
        if tag == tags[-1]:
            assert response.status_code == 200
            tags.append(response.headers["ETag"])
            body = response.get_json()
            # During the life of the resource each tag belongs to one representation.
            assert seen.setdefault(tags[-1], body) == body
            assert [known for known, shown in seen.items() if shown == body] == [tags[-1]]
        else:
            assert problem(response) == (412, "precondition_failed")
        now = alice.get(path)
        assert (now.headers["ETag"], now.get_json()) == (tags[-1], seen[tags[-1]])
        assert alice.get(path, headers={"If-None-Match": tag}).status_code == (304 if tag == tags[-1] else 200)
