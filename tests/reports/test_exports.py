"""What an export must hold to be judged, what its verdict says of the rest, and the sample that the project ships."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from jsonschema_rs import Draft202012Validator

from reports import api, schema
from reports.history import (
    LINE_BYTES_MAX,
    Bookmark,
    Deliver,
    HistoryInvalid,
    Published,
    Record,
    Run,
    Sent,
    Witness,
    encode,
    read_history,
)
from reports.report import Report
from tests.reports.stories import STORIES, written
from tests.reports.story import Story

SAMPLE = Path(api.__file__).with_name("samples") / "production.jsonl"


def export(*, deliveries: bool = False, counts: bool = False) -> Story:
    """Two events to one agent, told by deliveries, by counts, or not at all."""
    story = Story(world="production")
    story.publish("e1", "a")
    story.publish("e2", "a")
    story.connect("a", "earliest")
    if deliveries:
        story.deliver("a", "e1", "e2")
        story.bookmark("a")
    if counts:
        story.sent("a", "e1", "e2")
    return story


def judged(records: Sequence[Record], folder: Path) -> Report:
    """The report of some records."""
    path = folder / "history.jsonl"
    path.write_bytes(b"".join(map(encode, records)))
    return api.judge(path)


class TestVerdict:
    """Held by what was put to the test; what was not is named, and never green."""

    @pytest.mark.parametrize(
        ("given", "held", "untried"),
        [
            ({"counts": True}, {"G1", "G2", "G4"}, "G3, G5, G6, G8"),
            ({"deliveries": True}, {"G1", "G2", "G3", "G4", "G5"}, "G6, G8"),
            ({"deliveries": True, "counts": True}, {"G1", "G2", "G3", "G4", "G5"}, "G6, G8"),
        ],
    )
    def test_what_each_kind_of_record_tries(
        self, tmp_path: Path, given: dict[str, bool], held: set[str], untried: str
    ) -> None:
        """Counts say nothing of order and addressees; neither says that anybody was caught up."""
        report = judged(export(**given).records, tmp_path)
        assert (report.verdict, report.exit_code) == ("held", 0)
        assert {one.guarantee for one in report.guarantees if one.verdict == "held"} == held
        assert {one.verdict for one in report.guarantees if one.guarantee not in held} == {"not tried"}
        assert report.reason.endswith(f"not put to the test: {untried}.")

    def test_a_run_is_held_to_more(self, tmp_path: Path) -> None:
        """The same records of a run that was played are not held: it must show that all were caught up."""
        first, *rest = export(deliveries=True).records
        assert isinstance(first, Run)
        assert judged([msgspec.structs.replace(first, world="real"), *rest], tmp_path).verdict == "not converged"

    def test_without_deliveries_or_counts_nothing_is_held(self, tmp_path: Path) -> None:
        """Publishes and connections alone put nothing to the test: exit code 4."""
        report = judged(export().records, tmp_path)
        assert (report.verdict, report.exit_code) == ("could not run", 4)

    def test_without_publishes_nothing_is_held(self, tmp_path: Path) -> None:
        """Who does not say what was published can't be told what was lost."""
        records = [one for one in export(counts=True).records if not isinstance(one, Published)]
        assert judged(records, tmp_path).verdict == "could not run"

    def test_what_the_exporter_saw_is_in_the_report(self, tmp_path: Path) -> None:
        """Its notes are the reader's; what it calls broken is a violation."""
        records = export(counts=True).records
        noted = judged([*records, Witness(t_ns=0, notes=("Mind the gap.",))], tmp_path)
        assert "Mind the gap." in noted.notes
        assert noted.verdict == "held"
        lost = judged([*records, Witness(t_ns=0, broken=("pg-writer found 2 messages gone",))], tmp_path)
        assert (lost.verdict, lost.reason) == ("violated", "pg-writer found 2 messages gone.")

    def test_reports_show_how_long_an_agent_was_away(self, tmp_path: Path) -> None:
        """Every connection is a client of its own there, so the agent's last end is what counts."""
        story = Story(world="production")
        story.publish("e1", "a")
        for client, start in (("a#r.1", "earliest"), ("a#r.2", "e1")):
            story.connect(client, start)
            story.deliver(client, *(["e1"] if start == "earliest" else []))
            story.sent(client, *(["e1"] if start == "earliest" else []))
            story.wait(30)
        report = judged(story.records, tmp_path)
        assert report.counts["agents"] == 1
        assert [one.agent for one in report.gaps] == ["a#r.2"]
        assert 30 <= report.gaps[0].away_s < 31


class TestDirtyInput:
    """What can't be judged is refused whole: which line, what was expected, what came."""

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            (b'{"kind":"deliver","t_ns":1}', r"missing required field `agent`"),
            (b'{"kind":"parcel","t_ns":1}', r"Invalid value 'parcel'"),
            (b'{"kind":"phase","name":"end","t_ns":"soon"}', r"Expected `int`, got `str`"),
            (b'{"kind":"phase","name":"end","t_ns":1,"more":2}', r"unknown field `more`"),
            (b'{"kind":"bookmark","agent":"a","conn":"1","cursor":"7","t_ns":1}', r"expected a cursor such as"),
            (b'{"kind":"published","publisher":"p","id":"x","outcome":"acked","t_ns":1}', r"a 'publish' of 'x' before"),
            (b"\xff\xfe", r"expected a history record"),
            (b"x" * (LINE_BYTES_MAX + 1), r"expected a line of at most"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, line: bytes, said: str) -> None:
        """Behind six good lines it is the seventh."""
        path = tmp_path / "history.jsonl"
        good = [encode(record) for record in export(deliveries=True).records[:6]]
        path.write_bytes(b"".join([*good, line, b"\n"]))
        with pytest.raises(HistoryInvalid, match=said) as refused:
            api.judge(path)
        assert str(refused.value).startswith(f"{path}:7: ")

    def test_progress_is_told(self, tmp_path: Path) -> None:
        """A long history tells how far it was read; a short one has no need to."""
        told: list[tuple[int, int]] = []
        path = written(export(deliveries=True), tmp_path)
        api.judge(path, watch=lambda done, total: told.append((done, total)))
        assert told == []
        bookmark = next(encode(one) for one in export(deliveries=True).records if isinstance(one, Bookmark))
        path.write_bytes(path.read_bytes() + bookmark * 50_000)
        api.judge(path, watch=lambda done, total: told.append((done, total)))
        assert [total for _, total in told] == [path.stat().st_size] * 2
        assert 0 < told[0][0] < told[1][0] < path.stat().st_size


class TestSchema:
    """The published schema."""

    def test_the_file_is_up_to_date(self) -> None:
        """It is made from the types; `meshrelay schema history --write` makes it again."""
        for of in schema.Of:
            assert of.place.read_bytes() == schema.encoded(of), f"meshrelay schema {of.value} --write"

    def test_every_kind_and_field_says_what_it_is(self) -> None:
        """A reader of the schema needs no other text."""
        made = schema.history_schema()
        assert set(made["discriminator"]["mapping"]) == set(schema.kinds())
        for name, definition in made["$defs"].items():
            assert definition.get("description"), name
        assert "Behind this cursor" in made["$defs"]["Sent"]["properties"]["start"]["description"]

    @pytest.mark.parametrize("name", sorted(STORIES))
    def test_what_is_written_is_valid(self, tmp_path: Path, name: str) -> None:
        """Every line that this project writes has the schema's shape."""
        validator = Draft202012Validator(schema.history_schema())
        lines = written(STORIES[name](), tmp_path).read_bytes().splitlines()
        assert [line for line in lines if not validator.is_valid(msgspec.json.decode(line))] == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"kind": "saved", "t_ns": 1, "agent": "a"},
            {"kind": "saved", "t_ns": 1, "agent": "a", "cursor": "x", "more": 1},
            {"kind": "parcel", "t_ns": 1},
            {"kind": "published", "t_ns": 1, "publisher": "p", "id": "x", "outcome": "maybe"},
        ],
    )
    def test_what_the_reader_refuses_is_invalid(self, wrong: dict[str, object]) -> None:
        """The schema is as strict as the types."""
        assert not Draft202012Validator(schema.history_schema()).is_valid(wrong)


class TestSample:
    """The export of a real run that the project ships."""

    def test_it_is_held(self) -> None:
        """It is what the guide shows."""
        report = api.judge(SAMPLE)
        assert (report.verdict, report.world) == ("held", "production")
        assert report.counts["events sent, by count"] == 20

    def test_one_event_less_is_a_violation(self, tmp_path: Path) -> None:
        """Every connection that was sent something is a place where a loss is found."""
        records = list(read_history(SAMPLE).records)
        places = [at for at, one in enumerate(records) if isinstance(one, Sent) and one.count]
        assert len(places) == 5
        for at in places:
            one = records[at]
            assert isinstance(one, Sent)
            assert one.first is not None
            seq = int(one.first.partition("-")[2])
            more = {"first": None, "last": None} if one.count == 1 else {}
            less = msgspec.structs.replace(one, count=one.count - 1, sum=one.sum - seq, **more)
            report = judged([*records[:at], less, *records[at + 1 :]], tmp_path)
            assert (report.exit_code, len(report.findings)) == (1, 1), one

    def test_it_has_the_published_schema(self) -> None:
        """Every line of it."""
        validator = Draft202012Validator(schema.history_schema())
        assert all(validator.is_valid(msgspec.json.decode(line)) for line in SAMPLE.read_bytes().splitlines())
        assert not any(isinstance(one, Deliver) for one in read_history(SAMPLE).records)
