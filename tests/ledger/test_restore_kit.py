"""The restore kit: whole, private, and gone when it is deleted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from partner_tools.errors import LedgerError
from partner_tools.ledger.restore_kit import read_kit, write_kit
from partner_tools.model import Registration, RunId, Target

RUN = RunId("20260417-101530-4f2a9c")
WITH_HASH = Registration(
    target=Target(batch_id="Contoso 2024 / ü", device_id="1"),
    serial_number="PF3XK9A1",
    manufacturer="LENOVO",
    model="T14\u2028\0",
    product_key_id="0123456789012",
    hardware_hash="T0" * 2000,
    uploaded_at="2024-03-01T09:30:00.1234567Z",
    allowed_operations=("DELETE",),
)
WITHOUT_HASH = Registration(target=Target(batch_id="b", device_id="2"), serial_number="S2")


def kit_in(folder: Path) -> Path:
    """Where a kit of the run is."""
    return folder / "kits" / f"{RUN}.jsonl"


def test_a_kit_comes_back_as_it_was_with_what_has_a_hash(tmp_path: Path) -> None:
    sparse = Registration(target=WITHOUT_HASH.target, hardware_hash="T1")
    write_kit(tmp_path, RUN, [WITH_HASH, WITHOUT_HASH, sparse])
    assert kit_in(tmp_path).exists()
    assert read_kit(tmp_path, RUN) == (WITH_HASH, sparse)


@pytest.mark.skipif(os.name == "nt", reason="modes of files are POSIX")
def test_a_kit_is_for_this_user_alone(tmp_path: Path) -> None:
    write_kit(tmp_path / "new", RUN, [WITH_HASH])
    path = kit_in(tmp_path / "new")
    modes = [each.stat().st_mode & 0o777 for each in (path, path.parent, path.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


def test_a_kit_replaces_the_one_before_and_leaves_nothing_unfinished(tmp_path: Path) -> None:
    write_kit(tmp_path, RUN, [WITH_HASH] * 3)
    write_kit(tmp_path, RUN, [WITH_HASH])
    path = kit_in(tmp_path)
    assert read_kit(tmp_path, RUN) == (WITH_HASH,)
    assert list((tmp_path / "kits").iterdir()) == [path]


def test_without_hashes_there_is_no_kit(tmp_path: Path) -> None:
    write_kit(tmp_path, RUN, [WITHOUT_HASH])
    assert list(tmp_path.iterdir()) == []
    write_kit(tmp_path, RUN, [WITH_HASH])
    write_kit(tmp_path, RUN, [])
    assert not kit_in(tmp_path).exists()
    assert read_kit(tmp_path, RUN) == ()


@pytest.mark.parametrize(
    "content", [b"{", b"[]\n", b"{}\n", b'{"batchId":"b"}\n', b"7\n", b"\xff\n", b"\n"]
)
def test_a_damaged_kit_is_said_to_be_damaged(tmp_path: Path, content: bytes) -> None:
    write_kit(tmp_path, RUN, [WITH_HASH])
    path = kit_in(tmp_path)
    path.write_bytes(content)
    with pytest.raises(LedgerError, match=r"restore kit .* cannot be read") as caught:
        read_kit(tmp_path, RUN)
    assert caught.value.remedy


def test_a_kit_that_cannot_be_written_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "kits").write_text("a file where the folder should be", encoding="ascii")
    with pytest.raises(LedgerError, match="cannot be written"):
        write_kit(tmp_path, RUN, [WITH_HASH])


@pytest.mark.parametrize("run", ["../../etc/passwd", "", "20260417", "a/b"])
def test_only_a_run_has_a_kit(tmp_path: Path, run: str) -> None:
    with pytest.raises(ValueError, match="not a run id"):
        read_kit(tmp_path, RunId(run))
    with pytest.raises(ValueError, match="not a run id"):
        write_kit(tmp_path, RunId(run), ())
