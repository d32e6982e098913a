"""Which file is the configuration, and which is not taken for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from partner_tools.config import FILE_NAME, ROOT, Config, read_config
from partner_tools.errors import InputError

ME = os.geteuid() if os.name != "nt" else ROOT
OWNER = 4711 if ME == ROOT else ME
"""Of the file; who runs the tests as the administrator gives it away."""
ANOTHER = 4712

pytestmark = pytest.mark.skipif(os.name == "nt", reason="owners and modes are POSIX's")


def read(user: int | None, named: Path | None = None) -> Config:
    return read_config(
        named=named,
        profile=None,
        environment={},
        user_folder=Path("nowhere"),
        validate=lambda _: (),
        user=user,
    )


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize(
    ("mode", "user", "taken"),
    [
        (0o1777, ANOTHER, False),
        (0o777, ANOTHER, False),
        (0o1777, OWNER, True),
        (0o775, ANOTHER, True),
        (0o1777, None, True),
    ],
)
def test_a_configuration_that_somebody_planted_is_refused(
    mode: int,
    user: int | None,
    taken: bool,
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever runs the program in `/tmp` has not said that anybody's file there is to be obeyed."""
    folder, aim = tmp_path / "folder", tmp_path / "aim.toml"
    folder.mkdir()
    folder.chmod(mode)
    file = aim if kind == "link" else folder / FILE_NAME
    file.write_text("[default.urls]\nlogin = 'https://evil.example'\n", encoding="utf-8")
    if kind == "link":
        (folder / FILE_NAME).symlink_to(aim)
    monkeypatch.chdir(folder)
    if ME == ROOT:
        os.chown(folder / FILE_NAME, OWNER, -1, follow_symlinks=False)

    if taken:
        assert read(user).text("urls", "login") == "https://evil.example"
    else:
        with pytest.raises(InputError, match="somebody else's") as refused:
            read(user)
        assert "--config" in (refused.value.remedy or "")
    assert read(user, named=folder / FILE_NAME).file == folder / FILE_NAME
