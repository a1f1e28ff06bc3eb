"""Events: every rule refuses what breaks it and says so, and a valid event's text is kept as it came."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from system.event import (
    CRITICAL_TYPES,
    NESTING_MAX,
    Event,
    EventInvalid,
    RetentionClass,
    class_of,
    is_agent_name,
    read_event,
    same_content,
    subject_of,
)
from tests.system.harness import event

BYTES_MAX = 64 * 1024


def read(attributes: Any) -> Event:
    """Read from JSON."""
    return read_event(json.dumps(attributes).encode(), bytes_max=BYTES_MAX)


def without(name: str) -> dict[str, Any]:
    """A valid event less one attribute."""
    return {key: value for key, value in event().items() if key != name}


NOT_STRINGS: list[Any] = [None, 1, True, [], {}, ""]
INVALID: list[tuple[dict[str, Any], str]] = [
    *((without(name), f"'{name}' is missing") for name in ("specversion", "id", "source", "type", "subject")),
    *(
        (event() | {name: value}, f"'{name}': expected a non-empty string")
        for name in ("specversion", "id", "source", "type", "subject")
        for value in NOT_STRINGS
    ),
    (event(specversion="0.3"), "'specversion': expected '1.0'"),
    (event(specversion="1.0.2"), "'specversion': expected '1.0'"),
    (event("two words"), "'id': expected printable ASCII"),
    (event("zürich"), "'id': expected printable ASCII"),
    (event("line\nbreak"), "'id': expected printable ASCII"),
    (event("nul\0"), "'id': expected printable ASCII"),
    (event("x" * 129), "'id': expected at most 128"),
    (event("a~r1"), "kept for redispatches"),
    (event("a~r1", redispatchof="a"), "only the relay redispatches"),
    (event("a~r1", redispatchof="b", redispatchcount=1), "only the relay redispatches"),
    (event("a~r2", redispatchof="a", redispatchcount=1), "only the relay redispatches"),
    (event("a~r1", redispatchof="a", redispatchcount=1, subject="_all"), "only the relay redispatches"),
    (event("a", redispatchcount=1), "only the relay redispatches"),
    (event(type="Task.Assigned"), "'type': expected dotted lower-case"),
    (event(type="task..x"), "'type'"),
    (event(type=".task"), "'type'"),
    (event(type="task."), "'type'"),
    (event(type="task.*"), "'type'"),
    (event(type="task.>"), "'type'"),
    (event(type="task x"), "'type'"),
    (event(type="task\nx"), "'type'"),
    (event(type="t" * 65), "'type'"),
    (event(type="relay.close"), "not beginning with 'relay.'"),
    (event(type="tâsk"), "'type'"),
    (event(subject="-ann"), "'subject': expected the receiving agent's name"),
    (event(subject="_ann"), "'subject'"),
    (event(subject="ann.bob"), "'subject'"),
    (event(subject="*"), "'subject'"),
    (event(subject="a" * 65), "'subject'"),
    (event(subject="ann\n"), "'subject'"),
    (event(subject="änn"), "'subject'"),
    (event(source="s" * 513), "'source': expected at most 512"),
    (event(time="yesterday"), "'time': expected an RFC 3339 time"),
    (event(time="2026-02-30T00:00:00Z"), "'time'"),
    (event(time="2026-01-31 08:00:00Z"), "'time'"),
    (event(time="2026-01-31T08:00:00"), "'time'"),
    (event(time="2026-01-31T08:00:00+99:99"), "'time'"),
    (event(time="2026-01-31T08:00:00+24:00"), "'time'"),
    (event(time="٢٠٢٦-01-31T08:00:00Z"), "'time'"),
    (event(time=5), "'time': expected a string"),
    (event(time=None), "'time': expected a string"),
    (event(datacontenttype=None), "'datacontenttype': expected a string"),
    (event(dataschema=[1]), "'dataschema': expected a string"),
    (without("data") | {"data_base64": 3}, "'data_base64': expected a string"),
    (event(data_base64="AA=="), "expected 'data' or 'data_base64', got both"),
    (event(Upper="x"), "expected an extension attribute named"),
    (event(**{"with-dash": "x"}), "expected an extension attribute named"),
    (event(**{"": "x"}), "expected an extension attribute named"),
    (event(**{"a" * 21: "x"}), "expected an extension attribute named"),
    (event() | {"ключ": "x"}, "expected an extension attribute named"),
    (event(ext=1.5), "'ext': expected a string, integer or boolean"),
    (event(ext=None), "'ext': expected a string, integer or boolean"),
    (event(ext={}), "structures belong in 'data'"),
    (event(ext=[1]), "structures belong in 'data'"),
]


@pytest.mark.parametrize(("attributes", "problem"), INVALID, ids=range(len(INVALID)))
def test_each_rule_refuses_and_says_what_it_expected(attributes: dict[str, Any], problem: str) -> None:
    """An event that breaks a rule is refused with that rule, not as malformed JSON, in words of bounded length."""
    with pytest.raises(EventInvalid) as refused:
        read(attributes)
    assert any(problem in one for one in refused.value.problems), refused.value.problems
    assert not refused.value.malformed
    assert all(len(one) < 500 for one in refused.value.problems)


MALFORMED = [
    b"",
    b" ",
    b"{",
    b"{}x",
    b"{} {}",
    b"nope",
    b"{'id': 1}",
    b'{"id": 1,}',
    b'{"id": NaN}',
    b'{"id": 1e999}',
    b'{"id": "\xff"}',
    b'{"\xff": 1}',
    b'{"id": "\\ud800"}',
    b'{"id": "a\nb"}',
    b'{"id": "a\0b"}',
    b"\xef\xbb\xbf{}",
    '{"id": "ä"}'.encode("utf-16"),
    b'{"data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"data": ' + b'{"a":' * 20_000,
    b'{"data": ' + b"9" * 5_000 + b"}",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=lambda raw: repr(raw[:24]))
def test_what_is_not_json_is_malformed(raw: bytes) -> None:
    """Bytes that no JSON reader accepts are told apart from JSON that is no event."""
    with pytest.raises(EventInvalid) as refused:
        read_event(raw, bytes_max=1_000_000)
    assert refused.value.malformed


@pytest.mark.parametrize("raw", [b"null", b"true", b"5", b'"x"', b"[]", b"[{}]", b"1.5"])
def test_json_that_is_no_object_is_invalid(raw: bytes) -> None:
    """JSON that is no object is not an event, and not malformed either."""
    with pytest.raises(EventInvalid, match="expected a JSON object") as refused:
        read_event(raw, bytes_max=BYTES_MAX)
    assert not refused.value.malformed


def test_all_problems_are_told_at_once() -> None:
    """A publisher can mend everything after one refusal."""
    with pytest.raises(EventInvalid) as refused:
        read(event("two words", type="T", subject="-", time="x", ext=None, specversion="2"))
    assert len(refused.value.problems) == 6


def test_size_is_counted_in_bytes_and_the_limit_itself_is_allowed() -> None:
    """An event of exactly the limit passes, one byte more does not; a character may be four bytes."""
    raw = json.dumps(event(data="🚲" * 20), ensure_ascii=False).encode()
    assert read_event(raw, bytes_max=len(raw)).text == raw.decode()
    with pytest.raises(EventInvalid, match=f"at most {len(raw) - 1} bytes, got {len(raw)}"):
        read_event(raw, bytes_max=len(raw) - 1)


def nested(depth: int) -> bytes:
    """An event with this many levels, its own object included."""
    lists = depth - 1
    return json.dumps(event(data=0)).encode().replace(b'"data": 0', b'"data": ' + b"[" * lists + b"]" * lists)


def test_nesting_has_a_limit_of_its_own() -> None:
    """Depth is refused at a stated limit, wherever in the program it is read.

    The decoder's own limit depended on how deep its caller stood on the stack: an event that came in through a shallow
    caller passed, and was then a RecursionError to a deeper one, which ended pg-writer with every restart.
    """
    assert read_event(nested(NESTING_MAX), bytes_max=BYTES_MAX)

    def deeper(frames: int) -> Event:
        return deeper(frames - 1) if frames else read_event(nested(NESTING_MAX), bytes_max=BYTES_MAX)

    assert deeper(300)
    for depth in (NESTING_MAX + 1, 400, 900, 970, 980, 990):
        with pytest.raises(EventInvalid, match=f"at most {NESTING_MAX} levels|recursion"):
            read_event(nested(depth), bytes_max=BYTES_MAX)
    wide = json.dumps(event(data=[[[]] for _ in range(2_000)])).encode()
    assert read_event(wide, bytes_max=BYTES_MAX), "many brackets beside each other are not deep"


KEPT = [
    '{"specversion":"1.0","id":"a","source":"s","type":"t","subject":"ann","data":123456789012345678901234567890}',
    '{"specversion":"1.0","id":"a","source":"s","type":"t","subject":"ann","data":[1.10,1e5,-0,0.1000000000000000055]}',
    '{"data": {"z": 1, "a": 2}, "subject": "ann", "type": "t", "source": "s", "id": "a", "specversion": "1.0"}',
    '{"specversion":"1.0","id":"a","source":"s","type":"t","subject":"ann","data":"\\u0000 \\u2028\\ud83d\\ude80\\/"}',
    '{"specversion":"1.0","id":"a","source":"s","type":"t","subject":"ann","data":"\u2028 \u0085 \x7f 🚀 é e\u0301"}',
    '{"specversion":"1.0","id":"a","source":"s","type":"t","subject":"ann","ext":12345678901234567890,"flag":true}',
    '{"specversion":"1.0","\\u0069d":"a","source":"s","type":"t","subject":"ann"}',
]


@pytest.mark.parametrize("text", KEPT)
def test_the_text_is_kept_exactly(text: str) -> None:
    """No number is rounded, no key moved, no escape rewritten, no character normalised on the way to the agent."""
    assert read_event(text.encode(), bytes_max=BYTES_MAX).text == text


def test_white_space_between_tokens_goes_only_where_sse_needs_it() -> None:
    """An event on several lines becomes one line, with every token as it was: SSE ends a field at each line end."""
    text = KEPT[1].replace(",", ",\r\n\t ").replace("{", "\n{\n")
    assert read_event(text.encode(), bytes_max=BYTES_MAX).text.replace(" ", "") == KEPT[1]
    assert read_event(f" {KEPT[0]}\t".encode(), bytes_max=BYTES_MAX).text == KEPT[0]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(json_values, st.sampled_from([None, 2]), st.booleans())
def test_any_data_passes_through_on_one_line(data: object, indent: int | None, ascii_only: bool) -> None:
    """Whatever JSON a publisher sends, laid out in whatever way, the agent reads the same, from one line."""
    attributes = event("id", data=data)
    raw = json.dumps(attributes, indent=indent, ensure_ascii=ascii_only).encode()
    text = read_event(raw, bytes_max=BYTES_MAX).text
    assert "\n" not in text
    assert "\r" not in text
    assert json.loads(text) == attributes


@given(st.binary(max_size=200))
def test_arbitrary_bytes_never_break_the_gate(raw: bytes) -> None:
    """Any bytes are an event or are refused with reasons; nothing else happens."""
    problems = []
    try:
        event_id = read_event(raw, bytes_max=BYTES_MAX).id
    except EventInvalid as refused:
        event_id, problems = "", refused.problems
    assert bool(event_id) != bool(problems)


ids = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)


@given(ids)
def test_every_printable_id_is_read_or_kept_for_redispatches(event_id: str) -> None:
    """An id is refused only if it ends as a redispatch's does."""
    if event_id.rpartition("~r")[1] and event_id.rpartition("~r")[2].isdigit() and event_id.rpartition("~r")[0]:
        with pytest.raises(EventInvalid, match="kept for redispatches"):
            read(event(event_id))
    else:
        assert read(event(event_id)).id == event_id


@pytest.mark.parametrize("kind", sorted(CRITICAL_TYPES))
def test_the_three_task_types_are_critical(kind: str) -> None:
    """What stalls a task if missed is kept for longer; the set is a setting."""
    assert class_of(kind) is RetentionClass.CRITICAL
    assert class_of(kind + "x") is RetentionClass.STANDARD
    assert class_of(kind, frozenset({"other"})) is RetentionClass.STANDARD


def test_subjects_and_names() -> None:
    """A NATS subject follows from addressee and type; no agent can be called as a broadcast is."""
    assert subject_of("_all", "a.b") == "mesh.events._all.a.b"
    assert is_agent_name("A0_-")
    assert not any(is_agent_name(name) for name in ("_all", "", "a.b", "a\n", "a" * 65, "ä", "a/b", "٣"))


def as_text(**attributes: Any) -> str:
    """The JSON of an event with one id."""
    return json.dumps(event("same", **attributes))


def test_same_content_is_blind_to_the_order_of_keys_and_to_layout() -> None:
    """A publisher that serialises its retry another way is still retrying."""
    attributes = event("same", data={"a": 1, "b": [1, 2]})
    backwards = {key: attributes[key] for key in reversed(attributes)} | {"data": {"b": [1, 2], "a": 1}}
    assert same_content(json.dumps(attributes), json.dumps(backwards, indent=1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 2),
        (True, 1),
        (False, 0),
        (0, False),
        ([True], [1]),
        ({"a": True}, {"a": 1}),
        (None, 0),
        ("1", 1),
        ([1, 2], [2, 1]),
        ({"a": 1}, {"a": 1, "b": None}),
        (12345678901234567890123, 12345678901234567890124),
        ("é", "e\u0301"),
    ],
)
def test_other_content_is_told_apart(one: object, other: object) -> None:
    """An id used for anything else is found out: a duplicate answered for it would lose the second event.

    Python holds True equal to 1, so `{"done": true}` and `{"done": 1}` once counted as the same event.
    """
    assert not same_content(as_text(data=one), as_text(data=other))


@pytest.mark.parametrize("stored", ["", "junk", "[", "[" * 5_000, "\\ud800"])
def test_what_is_stored_need_not_be_json(stored: str) -> None:
    """Anybody may have published junk under an id past the relay; comparing with it answers no, not an exception."""
    assert not same_content(stored, as_text())


def test_a_raw_element_of_a_batch_is_read_as_it_stands() -> None:
    """Batches are cut without decoding: each element's bytes are its own."""
    raws = msgspec.json.decode(f"[ {KEPT[0]} ,{KEPT[1]}]".encode(), type=list[msgspec.Raw])
    assert [read_event(raw, bytes_max=BYTES_MAX).text for raw in raws] == KEPT[:2]
