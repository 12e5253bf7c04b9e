"""Properties of email addresses: one account for all spellings of an address, none for two domains, and no text that
causes an error."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from typing import Any

import idna
import pytest
from flask import Flask
from hypothesis import assume, example, given
from hypothesis import strategies as st
from marshmallow import ValidationError

from app.api.errors import EmailTaken
from app.database import db, transaction
from app.users.schemas import MAX_EMAIL, EmailAddress, email_key, fold
from app.users.service import create_user, is_email_taken
from tests.conftest import quick_password_hash
from tests.properties.examples import examples

FIELD = EmailAddress()
LETTERS = "abkiszABKISZ019éÉüÜñßſıİøØΣσςåÅ日本ёЁ\u0301\u0308\u0345\u1e9e\u212a\u00c5\ufb01"
ATOMS = st.text(st.sampled_from(LETTERS + "!#$%&'*+/=?^_`{|}~-"), min_size=1, max_size=8)
LOCAL_PARTS = st.lists(ATOMS, min_size=1, max_size=3).map(".".join)
LABELS = st.text(st.sampled_from(LETTERS + "-"), min_size=1, max_size=8)
DOMAINS = st.lists(LABELS, min_size=1, max_size=3).map(lambda labels: ".".join([*labels, "com"]))
ADDRESSES = st.builds("{}@{}".format, LOCAL_PARTS, DOMAINS)


def composed(text: str) -> str:
    """Return the text in NFC. Case is folded afterwards, because U+0345, a combining mark, folds to a letter."""
    return unicodedata.normalize("NFC", text)


# Other spellings of the same name, as keyboards, systems and attackers produce them.
NAMES: list[Callable[[str], str]] = [
    composed,
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: composed(text).casefold(),
    lambda text: unicodedata.normalize("NFD", composed(text).casefold()),
    # Some letters share their capital with another letter: the dotless i and the long s.
    lambda text: "".join(c.upper() if c.upper().casefold() == c.casefold() else c for c in composed(text)),
]
# Other spellings of the same address. Letters whose capital has another lower case, such as the sharp s, stay as they
# are, and so does the sigma, whose lower case depends on the next letter.
SPELLINGS: list[Callable[[str], str]] = [
    composed,
    lambda text: unicodedata.normalize("NFD", text),
    lambda text: composed(text).lower(),
    lambda text: unicodedata.normalize("NFD", composed(text).lower()),
    lambda text: "".join(c.upper() if c.upper().lower() == c.lower() and c not in "Σσς" else c for c in composed(text)),
    lambda text: f" {text}\t\u3000",
]
NEAR_ADDRESSES = st.text(st.sampled_from(LETTERS + '@@@..<>()[]"\\ ,;:\x00\n\u202e\ud800'), max_size=30)


def load(value: Any) -> str | None:
    """Return the address that the field deserializes, or None if it refuses the value."""
    try:
        return str(FIELD.deserialize(value))
    except ValidationError:
        return None


@examples(300)
@given(st.text(max_size=30) | ADDRESSES)
@example("\u0345\u0301")
@example("ᾳ\u0301\u0345")
def test_folding_is_done_once_and_ignores_case_and_composition(text: str) -> None:
    assert fold(fold(text)) == fold(text)
    for spell in NAMES:
        assert fold(spell(text)) == fold(text)


@examples(300)
@given(st.text(max_size=30) | ADDRESSES)
@example("\u0345\u0301")
@example("\u0130\u0307")
def test_the_key_of_a_key_is_the_key(text: str) -> None:
    assert email_key(email_key(text)) == email_key(text)


@examples(300)
@given(st.tuples(LOCAL_PARTS, DOMAINS) | st.tuples(st.just("me"), DOMAINS), st.data())
def test_two_addresses_are_one_if_local_part_and_a_labels_are(parts: tuple[str, str], data: st.DataObject) -> None:
    local, domain = parts
    near = "@".join((local, data.draw(st.sampled_from([*NAMES, str.casefold]))(domain)))
    one, other = load(f"{local}@{domain}"), load(near)
    assume(one is not None)
    assume(other is not None)
    assert (email_key(str(one)) == email_key(str(other))) == (ascii_domain(str(one)) == ascii_domain(str(other)))


def ascii_domain(address: str) -> bytes:
    """Return the A-labels of the domain of an address."""
    return idna.encode(address.rpartition("@")[2])


@examples(300)
@given(st.text() | NEAR_ADDRESSES | st.builds("{}@{}".format, st.text(), DOMAINS) | st.integers() | st.none())
@example("a@" + "b." * 126 + "com")
@example("a@xn--0000h.com")
def test_no_value_causes_an_exception(value: Any) -> None:
    address = load(value)
    if address is not None:
        assert 3 <= len(address) <= MAX_EMAIL
        assert len(email_key(address)) <= MAX_EMAIL
        assert address.isprintable()
        assert address.count("@") == 1


@examples(200)
@given(ADDRESSES)
def test_an_accepted_address_is_accepted_again_unchanged(text: str) -> None:
    address = load(text)
    assume(address is not None)
    assert load(address) == address


@examples(200)
@given(ADDRESSES, st.sampled_from(SPELLINGS))
def test_another_spelling_is_the_same_account_or_none(text: str, spell: Callable[[str], str]) -> None:
    address, other = load(text), load(spell(text))
    assume(address is not None)
    assume(other is not None)
    assert email_key(str(other)) == email_key(str(address))


@examples(100)
@given(DOMAINS)
def test_a_domain_is_the_same_in_ascii(domain: str) -> None:
    address = load(f"me@{domain}")
    assume(address is not None)
    labels = str(address).partition("@")[2].split(".")
    ascii_domain = ".".join(
        label if label.isascii() else "xn--" + label.encode("punycode").decode() for label in labels
    )
    assert load(f"me@{ascii_domain}") == address


@examples(25)
@given(st.lists(ADDRESSES, min_size=1, max_size=3), st.data())
def test_the_database_has_each_address_once(app: Flask, texts: list[str], data: st.DataObject) -> None:
    texts += [data.draw(st.sampled_from(SPELLINGS))(text) for text in texts]
    addresses = [address for address in map(load, data.draw(st.permutations(texts))) if address is not None]
    taken: set[str] = set()
    with app.app_context():
        for address in addresses:
            assert is_email_taken(address) is (email_key(address) in taken)
            if email_key(address) in taken:
                with pytest.raises(EmailTaken), transaction():
                    create_user(address, "Member", quick_password_hash())
            else:
                with transaction():
                    create_user(address, "Member", quick_password_hash())
            taken.add(email_key(address))
        with transaction():
            db.session.execute(db.text("DELETE FROM users"))
        db.session.remove()
