"""The stack runs as root and as a normal user, from a checkout and data under 0700 parents."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import valetkey
from tests.devstack.foreground import Foreground, mentions

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")
_NOT_NEEDED = (
    "test",
    "site-packages",
    "idlelib",
    "tkinter",
    "ensurepip",
    "__pycache__",
)


@dataclass(frozen=True)
class Elsewhere:
    """A complete Python with everything installed, in a folder of its own."""

    parent: Path

    @property
    def python(self) -> str:
        """The interpreter."""
        return str(self.parent / "python" / "bin" / "python")

    @property
    def env(self) -> dict[str, str]:
        """What makes that interpreter find its own files and nothing else's."""
        home = self.parent / "python"
        return {
            "PATH": os.defpath,
            "PYTHONHOME": str(home),
            "PYTHONPATH": f"{self.parent / 'site'}:{self.parent / 'src'}",
            "LD_LIBRARY_PATH": str(home / "lib"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Interpreter, packages and our own source, hard-linked into a fresh folder."""
    parent = Path(tempfile.mkdtemp(prefix="valetkey-elsewhere-"))
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    base = Path(sys.base_prefix)
    home = parent / "python"
    (home / "bin").mkdir(parents=True)
    shutil.copy2(base / "bin" / version, home / "bin" / "python")
    link_tree(base / "lib" / version, home / "lib" / version, *_NOT_NEEDED)
    for library in (base / "lib").glob("libpython*.so*"):
        shutil.copy2(library, home / "lib" / library.name)
    link_tree(Path(sysconfig.get_path("purelib")), parent / "site")
    link_tree(Path(valetkey.__file__).parent, parent / "src" / "valetkey")
    yield Elsewhere(parent)
    shutil.rmtree(parent)


def link_tree(source: Path, target: Path, *without: str) -> None:
    """Copy a tree by hard links (by content across file systems), folders 0755."""
    shutil.copytree(
        source,
        target,
        copy_function=link,
        ignore=shutil.ignore_patterns(*without),
        symlinks=True,
    )


def link(source: str, target: str) -> None:
    """Hard-link one file, or copy it where that cannot be done or others may not read it."""
    try:
        if not Path(source).stat().st_mode & 0o004:
            raise PermissionError(source)
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)
        Path(target).chmod(0o755)


def run_and_stop(stack: Foreground) -> Path:
    """Start it, use both servers, stop it; the program PostgreSQL ran from."""
    stack.start()
    assert stack.sql("SELECT count(*) FROM customers") == [(6,)]
    assert "orders-0" in stack.bao().names("database-orders/config")
    program = Path(f"/proc/{stack.pids()['postgres']}/exe").readlink()
    assert stack.interrupt() == 0
    assert mentions(stack.folder) == []
    return program


@needs_root
def test_root_runs_it_from_a_checkout_under_a_0700_parent(elsewhere: Elsewhere) -> None:
    """PostgreSQL runs as nobody from root's own copy, whatever hides the checkout and the data."""
    elsewhere.parent.chmod(0o700)
    stack = Foreground(elsewhere.parent / "data", elsewhere.python, elsewhere.env)
    try:
        program = run_and_stop(stack)
    finally:
        stack.close()
    assert program.is_relative_to("/var/lib/valetkey-dev")
    assert program.stat().st_uid == 0


@needs_root
def test_a_normal_user_runs_it_in_a_0700_folder_of_his(elsewhere: Elsewhere) -> None:
    """Nothing of it needs root: all files are in the user's data folder, owned by him."""
    elsewhere.parent.chmod(0o755)
    uid = pwd.getpwnam("nobody").pw_uid
    private = Path(tempfile.mkdtemp(prefix="valetkey-user-"))
    os.chown(private, uid, uid)
    stack = Foreground(private / "data", elsewhere.python, elsewhere.env, uid=uid)
    try:
        program = run_and_stop(stack)
        owners = {path.lstat().st_uid for path in private.rglob("*")}
    finally:
        stack.close()
        shutil.rmtree(private)
    assert program.is_relative_to(elsewhere.parent)
    assert owners == {uid}


def test_the_user_who_runs_the_tests_can_run_it(foreground: Foreground) -> None:
    """Whoever runs the tests, from a working folder that may be deleted or hidden."""
    program = run_and_stop(foreground)
    done = subprocess.run([str(program), "--version"], capture_output=True, check=True, text=True)
    assert "17." in done.stdout
