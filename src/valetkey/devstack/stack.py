"""The embedded stack: PostgreSQL, OpenBao, the issuer and an AWS emulator, up and down.

    python -m valetkey.devstack.stack --data DIR        # foreground; Ctrl-C stops it

prints one line of JSON with every endpoint once all is ready (secrets only as file names).
"""

from __future__ import annotations

import argparse
import fcntl
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from valetkey.devstack import bao_policies, command, orders, process, provision
from valetkey.devstack.aws.service import Aws
from valetkey.devstack.folders import DataFolder, read_json, write_json, write_private
from valetkey.devstack.issuer.keys import Realm, realms
from valetkey.devstack.issuer.people import CLIENT_ID, WORKLOADS, register
from valetkey.devstack.openbao import OpenBao
from valetkey.devstack.postgres import SUPERUSER, Postgres
from valetkey.devstack.process import Running
from valetkey.devstack.supervisor import NotReady, Service, Supervisor

log = logging.getLogger(__name__)

DEFAULT_FOLDER = Path(".valetkey/dev")
PLACEHOLDER_POLICIES = {"orders-db": bao_policies.PLACEHOLDER_WRITER}
IDENTITY_LIFE = 600
IDENTITY_EVERY = 60


@dataclass(frozen=True)
class Options:
    """How a stack differs from the usual: `durable=False` turns fsync off, for tests only."""

    durable: bool = True
    max_request_duration: str = "90s"
    writer_policies: Mapping[str, str] = field(default_factory=lambda: PLACEHOLDER_POLICIES)


class Stack:
    """One stack in this process: start, tend (in a loop or a thread), stop."""

    def __init__(self, folder: Path | str, options: Options | None = None) -> None:
        self.options = options or Options()
        self.folder = DataFolder.at(folder)
        self.postgres = Postgres(self.folder, durable=self.options.durable)
        self.openbao = OpenBao(self.folder, max_request_duration=self.options.max_request_duration)
        self.aws = Aws(self.folder)
        self.issuer_port = 0
        self.supervisor = Supervisor(self.folder, on_change=self._write_state)
        self._identity_due = 0.0
        self._ready = False
        self._lock: BinaryIO | None = None

    # --- what is where ------------------------------------------------------------------

    @property
    def issuer_url(self) -> str:
        """The issuer's base URL: `iss` of the people's tokens."""
        return f"http://127.0.0.1:{self.issuer_port}"

    @property
    def identity_token_file(self) -> Path:
        """The Valetkey server's own platform token (aud `openbao`), kept fresh while up."""
        return self.folder.run / "valetkey-server.jwt"

    def owner_dsn(self) -> str:
        """DSN of Valetkey's database as its owner (migrations)."""
        return self.postgres.dsn("valetkey", orders.OWNER)

    def app_dsn(self) -> str:
        """DSN of Valetkey's database as the application."""
        return self.postgres.dsn("valetkey", orders.APP)

    def superuser_dsn(self, database: str = "orders") -> str:
        """DSN of any database as superuser: to look, and to break things, in tests."""
        return self.postgres.dsn(database, SUPERUSER)

    def endpoints(self) -> dict[str, Any]:
        """Return where everything is, as JSON values without secrets."""
        secrets = self.folder.secrets
        return {
            "folder": str(self.folder.root),
            "postgres": {
                "host": "127.0.0.1",
                "port": self.postgres.port,
                "owner_dsn_file": str(secrets / "valetkey-owner.dsn"),
                "app_dsn_file": str(secrets / "valetkey-app.dsn"),
                "superuser_dsn_file": str(secrets / "orders-superuser.dsn"),
                "orders_database": "orders",
            },
            "openbao": {
                "address": self.openbao.address,
                "jwt_mount": provision.JWT_MOUNT,
                "identity_token_file": str(self.identity_token_file),
                "database_mount": provision.MOUNT,
                "connections": list(provision.LANES),
                "inspector_role": provision.INSPECTOR_ROLE,
                "claims_mount": provision.CLAIMS_MOUNT,
            },
            "aws": self.aws.endpoints(),
            "issuer": {
                "url": self.issuer_url,
                "client_id": CLIENT_ID,
                "people_file": str(self._issuer_folder / "people.json"),
                "ci_issuer": f"{self.issuer_url}/github",
                "ci_request_url": f"{self.issuer_url}/github/idtoken?api-version=2.0",
                "ci_request_token_file": str(self._issuer_folder / "ci.request-token"),
                "workload_issuer": f"{self.issuer_url}/workloads",
                "workload_request_token_files": {
                    name: str(self._issuer_folder / f"{name}.request-token") for name in WORKLOADS
                },
            },
        }

    # --- life -----------------------------------------------------------------------------

    def start(self) -> None:
        """Start and provision everything; returns when all is ready.

        Children left over from a killed supervisor are ended first. Raises AlreadyUp when another
        process runs this stack; NotReady, BaoRefused or psycopg.Error when something fails (what
        was started is stopped then).
        """
        self._lock = _lock(self.folder)
        try:
            end_left_overs(self.folder)
            self.issuer_port = process.port_for(self.folder, "issuer")
            register(self._issuer_folder)
            self.realm("platform")  # all keys are made here, before the issuer's own process looks
            issuer = command.issuer(self.folder, self.issuer_port)
            self.supervisor.start_all([self.postgres, self.openbao, issuer, self.aws])
            self.provision()
            self.refresh_identity()
        except BaseException:
            self.stop()
            raise

    def announce(self) -> None:
        """Say in `state.json` that everything is ready."""
        self._ready = True
        self._write_state()

    def provision(self, writer_policies: Mapping[str, str] | None = None) -> None:
        """Bring PostgreSQL and OpenBao to the state Valetkey needs; may be called again.

        `writer_policies` (target name to HCL) takes the place of those in the options, this once.
        """
        manager_password = provision.new_password()
        passwords = {
            orders.OWNER: self.folder.secret(f"{orders.OWNER}.password"),
            orders.APP: self.folder.secret(f"{orders.APP}.password"),
            orders.MANAGER: manager_password,
        }
        admin = {name: self.postgres.dsn(name) for name in ("postgres", "valetkey", "orders")}
        provision.provision_postgres(admin, passwords)
        platform = self.realm("platform")
        provision.provision_openbao(
            self.openbao.as_root(),
            self.postgres.port,
            manager_password,
            provision.Trust(platform.issuer, platform.public_pem()),
            self.options.writer_policies if writer_policies is None else writer_policies,
        )
        for name, dsn in (
            ("valetkey-owner", self.owner_dsn()),
            ("valetkey-app", self.app_dsn()),
            ("orders-superuser", self.superuser_dsn()),
        ):
            write_private(self.folder.secrets / f"{name}.dsn", dsn)

    def also_run(self, services: Sequence[Service]) -> None:
        """Start further children (the Valetkey server), supervised like the rest."""
        self.supervisor.start_all(services)

    def tend(self) -> None:
        """Do what is due: start dead children again, renew the server's identity token."""
        self.supervisor.tend()
        if time.monotonic() >= self._identity_due:
            self.refresh_identity()

    def tend_until(self, done: threading.Event) -> None:
        """Tend every 0.2 s until `done` is set or the data folder was deleted under us."""
        while not done.wait(0.2):
            if not self._holds_folder():
                log.warning("the data folder was deleted; stopping")
                return
            self.tend()

    def stop(self) -> None:
        """Stop every child in reverse order and remove what is true only while up."""
        self._ready = False
        self.supervisor.stop_all()
        if self._holds_folder():
            self.identity_token_file.unlink(missing_ok=True)
            self.folder.state_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def destroy(self) -> None:
        """Delete PostgreSQL's files, which under root lie outside the data folder."""
        self.postgres.destroy()

    def refresh_identity(self) -> None:
        """Write the server's identity token anew (10 minutes of life, aud `openbao`)."""
        platform = self.realm("platform")
        claims = {"sub": provision.SERVER_SUBJECT, "aud": provision.AUDIENCE}
        write_private(self.identity_token_file, platform.sign(claims, life=IDENTITY_LIFE))
        self._identity_due = time.monotonic() + IDENTITY_EVERY

    def realm(self, name: str) -> Realm:
        """Return one of the issuer's realms with its keys: to sign right and wrong tokens."""
        return realms(self._issuer_folder, self.issuer_url)[name]

    def _holds_folder(self) -> bool:
        """Tell whether the lock file is still the one we hold, not one of a folder made anew."""
        try:
            there = (self.folder.run / "lock").stat()
        except FileNotFoundError:
            return False
        return self._lock is not None and os.path.samestat(there, os.fstat(self._lock.fileno()))

    @property
    def _issuer_folder(self) -> Path:
        return self.folder.root / "issuer"

    def _write_state(self) -> None:
        pid = os.getpid()
        running = {
            "ready": self._ready,
            "supervisor": {"pid": pid, "started": process.start_time(pid)},
            "pids": self.supervisor.pids(),
            "restarts": self.supervisor.restarts(),
        }
        write_json(self.folder.state_file, self.endpoints() | running)


class AlreadyUp(Exception):
    """Another process runs the stack of this data folder."""


def _lock(folder: DataFolder) -> BinaryIO:
    """Return the held lock of the folder; the kernel gives it back when its holder dies."""
    file = (folder.run / "lock").open("ab")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise AlreadyUp(f"a stack is already up in {folder.root}") from None
    return file


def end_left_overs(folder: DataFolder) -> bool:
    """End recorded children whose supervisor is gone; True when there were any."""
    found = False
    for file in sorted(folder.run.glob("*.pid")):
        left_over = process.recorded(folder, file.stem)
        if left_over is not None:
            process.stop(left_over, signal.SIGINT)
            found = True
        file.unlink(missing_ok=True)
    return found


def status(folder: Path | str) -> dict[str, Any] | None:
    """Return the state of the stack in `folder` as its supervisor wrote it; None when not up.

    `ready` in it is true once everything serves.
    """
    state: dict[str, Any] | None = read_json(Path(folder).absolute() / "state.json")
    return state if state is not None and _supervisor(state).alive() else None


def _supervisor(state: Mapping[str, Any]) -> Running:
    return Running(int(state["supervisor"]["pid"]), str(state["supervisor"]["started"]))


def down(folder: Path | str) -> bool:
    """Stop the stack in `folder`, whoever runs it; False when nothing ran.

    Also ends children whose supervisor was killed.
    """
    state = status(folder)
    if state is not None:
        process.stop(_supervisor(state), signal.SIGTERM, patience=40.0)
    if not (Path(folder).absolute() / "run").is_dir():
        return False
    left_over = end_left_overs(DataFolder.at(folder))
    return left_over or state is not None


def up(
    folder: Path | str,
    options: Options | None = None,
    more: Callable[[Stack], Sequence[Service]] = lambda _: (),
    announce: Callable[[Stack], None] = lambda _: None,
) -> None:
    """Run a stack in the foreground until SIGINT or SIGTERM, then stop it cleanly.

    `more` is asked, once the stack is provisioned, for further children (the Valetkey server, as
    `command.Command`); `announce` is called when everything is ready. Must run in the main
    thread. Raises what `Stack.start` raises.
    """
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    stack = Stack(folder, options)
    stack.start()
    try:
        stack.also_run(more(stack))
        stack.announce()
        announce(stack)
        stack.tend_until(done)
    finally:
        stack.stop()


def detached(folder: Path | str, argv: Sequence[str], *, within: float = 60.0) -> dict[str, Any]:
    """Run `argv` (a command that calls `up` on `folder`) as a session leader; its ready state.

    Its output goes to `<data>/logs/supervisor.log`. Raises AlreadyUp, or NotReady when it ends
    or is not ready within `within` seconds (it is stopped then).
    """
    data = DataFolder.at(folder)
    if status(folder) is not None:
        raise AlreadyUp(f"a stack is already up in {data.root}")
    leader = process.spawn_leader(data, argv)
    process.wait_until(lambda: _is_ready(folder) or not leader.alive(), within)
    state = status(folder)
    if state is None or not state["ready"]:
        down(folder)
        raise NotReady(f"the stack did not come up; see {data.logs / 'supervisor.log'}")
    return state


def _is_ready(folder: Path | str) -> bool:
    state = status(folder)
    return state is not None and bool(state["ready"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a stack in the foreground until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m valetkey.devstack.stack")
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--not-durable", action="store_true", help="fsync off: tests only")
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    options = Options(durable=not chosen.not_durable)
    try:
        up(
            chosen.data,
            options,
            announce=lambda s: print(json.dumps(s.endpoints()), flush=True),
        )
    except AlreadyUp as refused:
        print(refused, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
