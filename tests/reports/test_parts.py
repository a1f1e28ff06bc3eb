"""Parts of a history become one: in the order of time, each part's own order kept, torn ends left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports import history
from reports.history import HistoryInvalid, encode, read_history
from reports.parts import LEADING, PARTS_FOLDER, WHOLE, history_in, merge, trim


def saved(t_ns: int, agent: str, number: int) -> history.Saved:
    """A record that can be told from all others."""
    return history.Saved(t_ns=t_ns, agent=agent, cursor=f"abc234-{number}")


def write(folder: Path, parts: dict[str, list[history.Saved]], *, torn: bytes = b"") -> Path:
    """A run's folder with these parts, each with a torn end."""
    place = folder / PARTS_FOLDER
    place.mkdir()
    for name, records in parts.items():
        (place / name).write_bytes(b"".join(encode(record) for record in records) + torn)
    return place


times = st.lists(st.integers(0, 50), max_size=8).map(sorted)


@given(
    st.dictionaries(st.sampled_from(["a.jsonl", "b.jsonl", "c.jsonl"]), times), times, st.sampled_from([b"", b'{"ki'])
)
def test_parts_are_merged_by_time(
    tmp_path_factory: pytest.TempPathFactory, others: dict[str, list[int]], leading: list[int], torn: bytes
) -> None:
    """Every whole record is in the whole once, no time goes back, and each part's records keep their order."""
    folder = tmp_path_factory.mktemp("run")
    parts = {
        name: [saved(t_ns, name, number) for number, t_ns in enumerate(given_ns)]
        for name, given_ns in {**others, LEADING: leading}.items()
    }
    write(folder, parts, torn=torn)
    found = read_history(history_in(folder)).records
    assert [one.t_ns for one in found] == sorted(one.t_ns for records in parts.values() for one in records)
    for name, records in parts.items():
        assert [one for one in found if isinstance(one, history.Saved) and one.agent == name] == records


def test_the_run_comes_first(tmp_path: Path) -> None:
    """At one time the leading part's record precedes all others: a history begins with its run."""
    merge(write(tmp_path, {"a.jsonl": [saved(0, "a", 1)], LEADING: [saved(0, "run", 1)]}), tmp_path / WHOLE)
    assert [one.agent for one in read_history(tmp_path / WHOLE).records if isinstance(one, history.Saved)] == [
        "run",
        "a",
    ]


def test_a_late_record_keeps_its_place(tmp_path: Path) -> None:
    """A record behind a later one of its own part stays behind it: the order within a process is the truth."""
    late = [saved(5, "a", 1), saved(3, "a", 2), saved(6, "a", 3)]
    merge(write(tmp_path, {"a.jsonl": late, LEADING: [saved(4, "run", 1)]}), tmp_path / WHOLE)
    found = [one for one in read_history(tmp_path / WHOLE).records if isinstance(one, history.Saved)]
    assert [one.cursor for one in found if one.agent == "a"] == ["abc234-1", "abc234-2", "abc234-3"]


def test_what_is_whole_already_is_not_merged_again(tmp_path: Path) -> None:
    """A file is itself, and a folder's whole history is taken as it is."""
    (tmp_path / WHOLE).write_bytes(encode(saved(1, "a", 1)))
    assert history_in(tmp_path) == history_in(tmp_path / WHOLE) == tmp_path / WHOLE


def test_no_parts_is_no_history(tmp_path: Path) -> None:
    """A folder without the run's own part says what it lacks, and gets no history."""
    with pytest.raises(HistoryInvalid, match=r"expected run\.jsonl and the parts beside it"):
        history_in(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nonsense_in_a_part_is_named(tmp_path: Path) -> None:
    """A whole line that is no record stops the merge, with the part's name, and leaves no half of a history."""
    write(tmp_path, {"a.jsonl": [], LEADING: []}, torn=b"nonsense\n")
    with pytest.raises(HistoryInvalid, match=r"run\.jsonl: expected a record"):
        history_in(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PARTS_FOLDER]


@pytest.mark.parametrize(("text", "left"), [(b"", b""), (b"a\nb\n", b"a\nb\n"), (b"a\nb", b"a\n"), (b"ab", b"")])
def test_trimming_keeps_whole_lines(tmp_path: Path, text: bytes, left: bytes) -> None:
    """Only what follows the last newline goes, and its bytes are told."""
    part = tmp_path / "a.jsonl"
    part.write_bytes(text)
    assert trim(part) == len(text) - len(left)
    assert part.read_bytes() == left
    assert trim(tmp_path / "none.jsonl") == 0
