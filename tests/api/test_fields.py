"""The fields and base classes of the schemas."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from marshmallow import Schema, ValidationError, fields

from app.api.fields import (
    Choice,
    Date,
    DateTime,
    Flag,
    Inline,
    InputSchema,
    Integer,
    Items,
    Number,
    OutputSchema,
    QueryFlag,
    QueryInteger,
    Text,
    Timestamp,
    Title,
    changes_of,
    format_timestamp,
)
from app.api.pagination import ListQuery, sort_field
from app.api.pagination.cursors import MAX_CURSOR_LENGTH
from app.api.request_body import load
from app.database import MAX_ID
from app.users.schemas import EmailAddress, Password


def loaded(field: fields.Field[Any], value: object) -> Any:
    """Return the value that a field deserializes."""
    schema = InputSchema.from_dict({"x": field})()
    return schema.load({"x": value})["x"]


def refusal(field: fields.Field[Any], value: object) -> list[str]:
    """Return the messages of a field for an invalid value."""
    with pytest.raises(ValidationError) as caught:
        loaded(field, value)
    messages = caught.value.messages
    assert isinstance(messages, dict)
    assert list(messages) == ["x"]
    texts: list[str] = messages["x"]
    return texts


CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0xD800, 0xDBFF, 0xDC00, 0xDFFF)]
NOT_STRINGS = [1, 0, 1.5, True, False, [], {}, ["x"], b"x"]


@pytest.mark.parametrize("value", NOT_STRINGS, ids=repr)
def test_nothing_is_converted_to_a_string(value: object) -> None:
    assert refusal(Text(0, 9), value) == ["Must be a string."]
    assert refusal(Choice("a", "b"), value) == ["Must be a string."]


@pytest.mark.parametrize("field", [Text(0, 9), Choice("a"), Flag(), QueryFlag(), QueryInteger(), DateTime()], ids=repr)
def test_null_is_no_value(field: fields.Field[Any]) -> None:
    assert refusal(field, None) == ["Field may not be null."]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_no_text_has_control_characters(control: str) -> None:
    assert refusal(Text(0, 9), f"a{control}b") == ["Must not have control characters."]
    assert refusal(Text(0, 9), control) == ["Must not have control characters."]
    if control in "\t\n\r":
        assert loaded(Text(0, 9, multiline=True), f"a{control}b") == f"a{control}b"
    else:
        assert refusal(Text(0, 9, multiline=True), f"a{control}b") == ["Must not have control characters."]


# White space, default-ignorable code points at the ends of their ranges, the Hangul fillers and the blank of Braille.
INVISIBLE = (
    *(" ", "\u00a0", "\u1680", "\u2003\u3000", "\u2028", "\u202f", "\u00ad", "\u034f", "\u061c", "\u115f", "\u1160"),
    *("\u17b4", "\u17b5", "\u180b", "\u180e", "\u180f", "\u200b", "\u200d", "\u200e", "\u200f", "\u202e", "\u2060"),
    *("\u2066", "\u206f", "\u2800", "\u3164", "\ufe00", "\ufe0f", "\ufeff", "\uffa0", "\ufff0", "\ufff8"),
    *(
        "\U0001bca0",
        "\U0001bca3",
        "\U0001d173",
        "\U0001d17a",
        "\U000e0000",
        "\U000e0001",
        "\U000e0fff",
        "\u200b\u3164 \u2800",
    ),
)


@pytest.mark.parametrize("blank", INVISIBLE, ids=ascii)
def test_required_text_has_a_visible_character(blank: str) -> None:
    for field in (Text(1, 9), Text(1, 9, multiline=True), Title(1, 9)):
        assert "Must not be blank." in refusal(field, blank) or is_bidi(blank)
    assert refusal(Text(1, 9, multiline=True), f"{blank}\n\t") == ["Must not be blank."]
    assert loaded(Text(0, 9, blank=True), blank) == blank
    for text in (f"{blank}x", f"x{blank}", f"{blank}\u0301", f"{blank}👨\u200d👩"):
        assert loaded(Text(1, 9), text) == text


def is_bidi(text: str) -> bool:
    """Return whether a text has characters that change the direction of text around it."""
    return any(unicodedata.bidirectional(c) in BIDI_CLASSES for c in text)


BIDI_CLASSES = ("LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI")


def test_a_title_changes_no_direction() -> None:
    """All of the formatting characters of UAX #9 except for the marks, which right-to-left scripts need."""
    refused = {chr(code) for code in range(0x110000) if is_bidi(chr(code))}
    assert refused == {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A))}
    for character in refused:
        message = "Must not have characters that override the direction of text."
        assert refusal(Title(1, 9), f"a{character}b") == [message]
        assert loaded(Text(1, 9), f"a{character}b") == f"a{character}b"
    for text in ("שלום\u200f!", "a\u200eb", "\u061cمرحبا", "👩\u200d👧"):
        assert loaded(Title(1, 9), text) == text


@pytest.mark.parametrize(
    "field",
    [
        *(Text(1, 9), Text(1, 9, multiline=True), Title(1, 9), Text(0, 9, blank=True), Text(0, 9), Title(0, 9)),
        *(Text(0, 9, multiline=True), Text(1, 9, pattern="[A-Z0-9-]+")),
    ],
)
def test_the_pattern_of_a_text_agrees_with_its_rules(field: Text) -> None:
    """Except for lone surrogates and the invisible characters beyond U+FFFF, which it can't have."""
    pattern = re.compile(field.metadata["pattern"])
    for code in (*range(0xD800), *range(0xE000, 0x10000), 0x1F600):
        for text in ("", chr(code), f"a{chr(code)}", f"{chr(code)}a"):
            try:
                loaded_text = field.deserialize(text)
            except ValidationError:
                loaded_text = None
            assert (pattern.fullmatch(text) is not None) == (loaded_text == text), ascii(text)


@pytest.mark.parametrize("field", [Text(1, 9), Text(1, 9, multiline=True), Title(1, 9), Text(0, 9, blank=True)])
@pytest.mark.parametrize("text", ["\x00" * 10, " " * 10, "\ud800" * 10, "\u202e" * 10])
def test_length_is_judged_first(field: Text, text: str) -> None:
    assert refusal(field, text) == ["Must have at most 9 characters."]


@pytest.mark.parametrize("unit", ["a", "é", "e\u0301", "a.", "xn--a.", "@", "\u0660"], ids=ascii)
@pytest.mark.parametrize("start", ["", "a@"])
def test_a_long_address_is_refused_before_its_syntax_is_read(
    monkeypatch: pytest.MonkeyPatch, unit: str, start: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("the address was parsed")

    monkeypatch.setattr("app.users.schemas.validate_email", fail)
    message = ["Must have at most 254 characters."]
    assert refusal(EmailAddress(), start + unit * 300_000) == message
    assert refusal(EmailAddress(), "a" * 255) == message
    with pytest.raises(AssertionError):
        refusal(EmailAddress(), " " * 300_000 + "a" * 254 + " " * 300_000)


@pytest.mark.parametrize("minimum", [1, 8])
def test_a_long_password_is_refused_before_it_is_normalized(monkeypatch: pytest.MonkeyPatch, minimum: int) -> None:
    def fail(_: str) -> str:
        raise AssertionError("the password was normalized")

    monkeypatch.setattr("app.users.schemas.normalize", fail)
    for unit in ("a", "e\u0301", "\u00a0", "\u1f82"):
        assert refusal(Password(minimum), unit * 300_000) == ["Must have at most 128 characters."]


def test_a_long_cursor_is_refused_before_it_is_decoded() -> None:
    query = ListQuery.from_dict({"sort": sort_field("a", default="a")})()
    assert query.load({"cursor": "x" * MAX_CURSOR_LENGTH})["cursor"]
    with pytest.raises(ValidationError) as caught:
        query.load({"cursor": "x" * (MAX_CURSOR_LENGTH + 1)})
    assert caught.value.messages == {"cursor": ["Not a cursor of this list with this sort and these filters."]}


@pytest.mark.parametrize(
    ("text", "length"), [("e\u0301" * 4, 4), ("e\u0301" * 8, 8), ("\u00a0" * 8 + "x", 9), ("\ufb2c" * 3, 9)], ids=ascii
)
def test_the_length_of_a_password_is_counted_after_normalization(text: str, length: int) -> None:
    if length < 8:
        assert refusal(Password(8), text) == ["Must have at least 8 characters."]
    else:
        assert loaded(Password(8), text) == text


def test_length_is_counted_in_code_points() -> None:
    field = Text(2, 4)
    for text in ("ab", "abcd", "😀😀😀😀", "e\u0301e\u0301", "👨\u200d👩"):
        assert loaded(field, text) == text
    assert refusal(field, "a") == ["Must have at least 2 characters."]
    assert refusal(field, "") == ["Must have at least 2 characters."]
    assert refusal(field, "abcde") == ["Must have at most 4 characters."]
    assert refusal(field, "😀" * 5) == ["Must have at most 4 characters."]
    assert refusal(Text(1, 4), "") == ["Must not be empty."]


@pytest.mark.parametrize("value", ["true", "false", "True", 0, 1, "", [], {}, 0.0], ids=repr)
def test_a_flag_is_true_or_false(value: object) -> None:
    assert refusal(Flag(), value) == ["Must be true or false."]
    assert loaded(Flag(), True) is True
    assert loaded(Flag(), False) is False


@pytest.mark.parametrize("value", ["True", "1", "yes", "", " true", "true\n", "false,"])
def test_a_query_flag_is_one_of_two_words(value: str) -> None:
    assert refusal(QueryFlag(), value) == ["Must be true or false."]
    assert loaded(QueryFlag(), "true") is True
    assert loaded(QueryFlag(), "false") is False


@pytest.mark.parametrize(
    "value", ["", "a", "1.0", "1e3", "+1", " 1", "1 ", "1\n", "٣", "１", "0x1", "1_0", "--1", "1" * 20]
)
def test_invalid_integers(value: str) -> None:
    assert refusal(QueryInteger(), value) == ["Must be an integer."]


def test_integers_have_bounds() -> None:
    assert loaded(QueryInteger(), "1") == 1
    assert loaded(QueryInteger(), str(MAX_ID)) == MAX_ID
    assert refusal(QueryInteger(1, 100), "101") == ["Must be 1 to 100."]
    assert refusal(QueryInteger(1, 100), "0") == ["Must be 1 to 100."]
    assert refusal(QueryInteger(1, 100), "-5") == ["Must be 1 to 100."]
    assert refusal(QueryInteger(), str(MAX_ID + 1)) == [f"Must be 1 to {MAX_ID}."]


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-01-31T12:00:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31t12:00:00z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00:00.5Z", datetime(2026, 1, 31, 12, 0, 0, 500_000, tzinfo=UTC)),
        ("2026-01-31T12:00:00.123456789Z", datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=UTC)),
        ("2026-01-31T12:00:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-01T00:30:00+05:30", datetime(2025, 12, 31, 19, tzinfo=UTC)),
        ("2026-01-31T12:00:00-00:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2024-02-29T23:59:59Z", datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times_are_read_in_utc(value: str, moment: datetime) -> None:
    result = loaded(DateTime(), value)
    assert result == moment
    assert result.tzinfo is UTC


@pytest.mark.parametrize(
    "value",
    [
        *("", "2026-01-31", "2026-01-31T12:00:00", "2026-01-31 12:00:00Z", "2026-01-31T12:00Z"),
        *("2026-01-31T12:00:00,5Z", "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00.1234567890Z"),
        *("2026-01-31T12:00:00Z\x00", "2026-01-31T12:00:00Z\n", "2026-02-29T12:00:00Z", "2026-01-31T12:60:00Z"),
        *("2026-01-31T12:00:60Z", "2026-01-31T12:00:00+24:00", "0001-01-01T00:00:00+00:01"),
        *("9999-12-31T23:59:59-00:01", "٢٠٢٦-01-31T12:00:00Z"),
    ],
    ids=ascii,
)
def test_invalid_times(value: str) -> None:
    assert refusal(DateTime(), value) == ["Must be an RFC 3339 date-time such as 2026-01-31T12:00:00Z."]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00.000000Z"),
        (datetime(2026, 1, 31, 12, 0, 0, 7, tzinfo=UTC), "2026-01-31T12:00:00.000007Z"),
        (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2))), "2025-12-31T23:00:00.000000Z"),
        (datetime(1, 1, 1, tzinfo=UTC), "0001-01-01T00:00:00.000000Z"),
    ],
)
def test_times_are_written_in_utc_with_microseconds(moment: datetime, text: str) -> None:
    assert format_timestamp(moment) == text
    assert OutputSchema.from_dict({"x": Timestamp()})().dump({"x": moment}) == {"x": text}
    assert OutputSchema.from_dict({"x": Timestamp()})().dump({"x": None}) == {"x": None}


@pytest.mark.parametrize("value", ["1", 1.0, 1.5, True, False, [], {}, "", "٣"], ids=repr)
def test_an_integer_is_not_converted(value: object) -> None:
    assert refusal(Integer(-5, 5), value) == ["Must be an integer."]


@pytest.mark.parametrize("value", [-6, 6, 10**400, -(10**400)], ids=lambda value: str(value)[:9])
def test_an_integer_of_a_body_has_bounds(value: int) -> None:
    assert refusal(Integer(-5, 5), value) == ["Must be -5 to 5."]
    assert [loaded(Integer(-5, 5), bound) for bound in (-5, 5)] == [-5, 5]


@pytest.mark.parametrize("value", ["1", "1.5", True, False, [], {}, "", "NaN", "Infinity"], ids=repr)
def test_a_number_is_not_converted(value: object) -> None:
    assert refusal(Number(-90, 90), value) == ["Must be a number."]


@pytest.mark.parametrize(
    "value", [90.5, -91, 10**400, 1e308, float("nan"), float("inf"), float("-inf")], ids=lambda value: str(value)[:9]
)
def test_a_number_is_finite_and_has_bounds(value: float) -> None:
    assert refusal(Number(-90, 90), value) == ["Must be -90 to 90."]


@pytest.mark.parametrize("value", [-90, 90, 0, 1, 0.1, -33.95, 5e-324, 89.99999999999999])
def test_a_number_is_loaded_as_a_float(value: float) -> None:
    number = loaded(Number(-90, 90), value)
    assert type(number) is float
    assert number == value


def test_a_number_has_no_negative_zero() -> None:
    assert [str(loaded(Number(-1, 1), zero)) for zero in (-0.0, 0.0, 0)] == ["0.0"] * 3
    assert str(loaded(Number(-0.0, 1), 0)) == "0.0"
    for bound in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="finite"):
            Number(0, bound)


class Place(InputSchema):
    """A place, as an item of a list."""

    name = Text(1, 5, required=True)
    height = Number(0, 9, load_default=0)


def test_a_list_has_bounds() -> None:
    field = Items(Place, 1, 2)
    assert loaded(field, [{"name": "a"}]) == [{"name": "a", "height": 0}]
    assert refusal(field, []) == ["Must not be empty."]
    assert refusal(Items(Place, 2, 3), [{"name": "a"}]) == ["Must have at least 2 items."]
    # The items are not read: each of them would add an error.
    assert refusal(field, [{"bad": 1}] * 100_000) == ["Must have at most 2 items."]
    assert refusal(field, None) == ["Field may not be null."]
    for value in ("ab", {"name": "a"}, {}, 1, True):
        assert refusal(field, value) == ["Must be a list."]


def test_each_item_of_a_list_has_its_errors() -> None:
    schema = InputSchema.from_dict({"x": Items(Place, 0, 9)})()
    with pytest.raises(ValidationError) as caught:
        schema.load({"x": [{"name": "ok"}, {}, {"name": 1, "height": "2"}, {"name": "ok", "more": 1}, "ok", None]})
    assert caught.value.messages == {
        "x": {
            1: {"name": ["Missing data for required field."]},
            2: {"name": ["Must be a string."], "height": ["Must be a number."]},
            3: {"more": ["Unknown field."]},
            4: {"_schema": ["Must be a JSON object."]},
            5: ["Field may not be null."],
        }
    }


def test_a_text_has_a_pattern() -> None:
    field = Text(1, 5, pattern="[A-Z][0-9]*|-", error_messages={"pattern": "Must be a code such as A1."})
    assert field.metadata["pattern"] == "^(?:[A-Z][0-9]*|-)$"
    for text in ("A", "B12", "-"):
        assert loaded(field, text) == text
    for text in ("a", "A1\u0662", "A-", "-A", " A", "A "):
        assert refusal(field, text) == ["Must be a code such as A1."]
    assert refusal(field, "A\n") == ["Must not have control characters."]
    assert refusal(field, "a" * 6) == ["Must have at most 5 characters."]
    assert refusal(field, "") == ["Must not be empty."]
    assert refusal(Text(1, 5, pattern=r"\d+"), "1\u0662") == [r"Must match the pattern \d+."]
    assert loaded(Text(1, 5, pattern=r"\d+"), "12") == "12"


@pytest.mark.parametrize(
    "value",
    [
        *("", "2026-1-31", "2026-02-29", "20260131", "2026-W05-6", "2026-01-31T12:00:00Z", "2026-01-31\n"),
        *("٢٠٢٦-01-31", 0, 20260131, True, [], {}),
    ],
    ids=ascii,
)
def test_invalid_dates(value: object) -> None:
    assert refusal(Date(), value) == ["Must be an RFC 3339 date such as 2026-01-31."]


def test_a_date_is_read_and_written() -> None:
    schema = InputSchema.from_dict({"x": Date(allow_none=True)})()
    for text in ("2026-01-31", "2024-02-29", "0001-01-01", "9999-12-31"):
        assert loaded(Date(), text) == date.fromisoformat(text)
        assert schema.dump(schema.load({"x": text})) == {"x": text}
    assert schema.dump(schema.load({"x": None})) == {"x": None}


@pytest.mark.parametrize("value", [0, 1.5, True, [], {}], ids=repr)
def test_no_other_type_is_a_time(value: object) -> None:
    assert refusal(DateTime(), value) == ["Must be an RFC 3339 date-time such as 2026-01-31T12:00:00Z."]


class NewTrip(InputSchema):
    """A schema with required, optional and nested members."""

    name = Title(1, 5, required=True)
    note = Text(0, 5, blank=True, load_default="")
    end = Date(allow_none=True, load_default=None, data_key="until")
    places = Items(Place, 0, 2, load_default=list)


class NewLongTrip(NewTrip):
    """A schema that inherits members."""

    name = Title(1, 50, required=True)


def test_changes_have_the_members_of_the_whole_without_defaults() -> None:
    changes = changes_of(NewTrip)
    assert (changes.__name__, changes.__doc__) == ("TripChanges", "The members to change, for PATCH.")
    schema = changes()
    assert schema.load({}) == {}
    whole = {"name": "a", "note": "b", "until": None, "places": [{"name": "c", "height": 1}]}
    assert schema.load(whole) == NewTrip().load(whole)
    for name, value in whole.items():
        assert schema.load({name: value}).keys() == {"end" if name == "until" else name}
    with pytest.raises(ValidationError) as caught:
        # An item is no change: it replaces the list, and must be complete.
        schema.load({"name": None, "note": "too long", "places": [{"height": 1}], "end": None})
    assert caught.value.messages == {
        "name": ["Field may not be null."],
        "note": ["Must have at most 5 characters."],
        "places": {0: {"name": ["Missing data for required field."]}},
        "end": ["Unknown field."],
    }
    assert schema.load({"places": [{"name": "c"}]}) == {"places": [{"name": "c", "height": 0}]}


def test_changes_leave_the_schema_of_the_whole_as_it_is() -> None:
    assert changes_of(NewLongTrip)().load({"name": "a" * 50}) == {"name": "a" * 50}
    assert NewTrip().load({"name": "a"}) == {"name": "a", "note": "", "end": None, "places": []}
    with pytest.raises(ValidationError):
        NewTrip().load({})


@pytest.mark.parametrize("value", ["", "A", "c", "a ", "a, b", "{choices}"])
def test_a_choice_is_one_of_its_words(value: str) -> None:
    assert refusal(Choice("a", "b"), value) == ["Must be one of: a, b."]
    assert loaded(Choice("a", "b"), "b") == "b"


def test_an_unknown_name_is_reported_with_the_other_errors() -> None:
    schema = InputSchema.from_dict({"x": Text(1, 2, required=True)})()
    with pytest.raises(ValidationError) as caught:
        schema.load({"y": 1, "z": {"deep": [1]}})
    assert caught.value.messages == {
        "x": ["Missing data for required field."],
        "y": ["Unknown field."],
        "z": ["Unknown field."],
    }


def test_errors_are_nested_as_the_body_is() -> None:
    """Lists by index and objects by name, so that a client can show each message beside its field."""
    item: type[Schema] = InputSchema.from_dict({"name": Text(1, 2), "tags": fields.List(Text(1, 2))})
    schema = InputSchema.from_dict({"items": fields.List(fields.Nested(item))})()
    body = {"items": [{"name": "ok"}, {"name": 1, "tags": ["a", 2]}, {"extra": 1}, "x"]}
    from app.api.errors import ValidationFailed

    with pytest.raises(ValidationFailed) as caught:
        load(schema, body)
    assert caught.value.errors == {
        "items": {
            1: {"name": ["Must be a string."], "tags": {1: ["Must be a string."]}},
            2: {"extra": ["Unknown field."]},
            3: {"_schema": ["Must be a JSON object."]},
        }
    }


def test_an_inline_object_has_columns_of_the_same_row() -> None:
    inner: type[Schema] = OutputSchema.from_dict({"id": fields.Integer(attribute="author_id")})
    schema = OutputSchema.from_dict({"author": Inline(inner)})()
    assert schema.dump({"author_id": 7}) == {"author": {"id": 7}}
