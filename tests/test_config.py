"""Which file is the configuration, and which is not taken for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from partner_tools.config import FILE_NAME, ROOT, Config, read_config
from partner_tools.errors import InputError
from partner_tools.files import refuse_exposed

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
        (0o775, ANOTHER, False),
        (0o755, ANOTHER, False),
        (0o1777, None, True),
    ],
)
def test_a_configuration_planted_by_another_user_is_refused(
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
        with pytest.raises(InputError, match="belongs to another user") as refused:
            read(user)
        assert "--config" in (refused.value.remedy or "")
    assert read(user, named=folder / FILE_NAME).file == folder / FILE_NAME


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("mode", "taken"), [(0o600, True), (0o644, True), (0o640, True), (0o666, False), (0o602, False)]
)
def test_a_configuration_that_others_may_change_is_refused(
    mode: int, taken: bool, named: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says where tokens go. Naming it vouches for its owner, and not for everybody."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / FILE_NAME
    file.write_text("[default]\n", encoding="utf-8")
    file.chmod(mode)
    if taken:
        assert read(ME, named=file if named else None).file is not None
        return
    with pytest.raises(InputError, match="other users may change") as refused:
        read(ME, named=file if named else None)
    assert (refused.value.exit_code, refused.value.rule) == (3, "exposed-file")
    assert f"chmod go-w {file if named else FILE_NAME}" in refused.value.remedy


@pytest.mark.parametrize(
    ("mode", "group", "taken"), [(0o664, "own", True), (0o664, "another", False)]
)
def test_a_group_of_the_users_own_is_nobody_else(
    mode: int, group: str, taken: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import grp
    import pwd

    file = tmp_path / FILE_NAME
    file.write_text("[default]\n", encoding="utf-8")
    file.chmod(mode)
    gid = file.stat().st_gid
    person = pwd.struct_passwd(("kim", "x", ME, gid, "", "", ""))
    members = ["kim"] if group == "own" else ["kim", "sam"]
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: person)
    monkeypatch.setattr(grp, "getgrgid", lambda _gid: grp.struct_group(("g", "x", gid, members)))
    if taken:
        assert read(ME, named=file).file == file
    else:
        with pytest.raises(InputError, match="other users may change"):
            read(ME, named=file)


def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """As ssh does with a private key. One of the administrator's is not looked at."""
    key = tmp_path / "key.json"
    key.write_bytes(b"{}")
    for mode, user, fine in (
        (0o600, ME, True),
        (0o400, ME, True),
        (0o640, ME, False),
        (0o604, ME, False),
        (0o644, ANOTHER, True),
        (0o666, ANOTHER, False),
    ):
        key.chmod(mode)
        if fine:
            refuse_exposed(key, "the signing key", user, is_secret=True)
        else:
            with pytest.raises(InputError, match="other users may"):
                refuse_exposed(key, "the signing key", user, is_secret=True)
