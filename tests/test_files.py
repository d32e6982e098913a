"""What a command writes is for its user alone, whatever lies there and whatever the umask."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from partner_tools.files import require_folder, write_private

pytestmark = pytest.mark.skipif(os.name == "nt", reason="modes and links are POSIX's")


@pytest.fixture(autouse=True)
def open_umask() -> Iterator[None]:
    """Everything that is made without a mode is open to everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_file_and_the_folders_made_for_it_are_private(tmp_path: Path) -> None:
    write_private(tmp_path / "a" / "b" / "file", b"x")
    require_folder(tmp_path / "c" / "d")

    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.rglob("*")}
    assert modes == {"a": 0o700, "b": 0o700, "file": 0o600, "c": 0o700, "d": 0o700}


def test_a_file_at_the_output_path_is_replaced_and_not_written_to(tmp_path: Path) -> None:
    """Somebody may have laid a link there, or a file that they can read."""
    aim, link, readable = (tmp_path / name for name in ("aim", "link", "readable"))
    aim.write_bytes(b"theirs")
    link.symlink_to(aim)
    readable.write_bytes(b"theirs")
    with readable.open("rb") as theirs:
        for path in (link, readable):
            write_private(path, b"ours")

        assert theirs.read() == aim.read_bytes() == b"theirs"
    for path in (link, readable):
        assert not path.is_symlink()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(list(tmp_path.iterdir())) == 3


def test_a_pipe_is_written_into_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_private(pipe, b"ours")

        assert os.read(reader, 10) == b"ours"
    finally:
        os.close(reader)
    assert list(tmp_path.iterdir()) == [pipe]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_standard_output_by_its_name_is_not_replaced(tmp_path: Path) -> None:
    """Its name is a link, which a file would replace where root is the user."""
    file = tmp_path / "file"
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT)
    name = Path(f"/dev/fd/{descriptor}")
    try:
        write_private(name, b"ours")

        assert name.is_symlink()
    finally:
        os.close(descriptor)
    assert file.read_bytes() == b"ours"
