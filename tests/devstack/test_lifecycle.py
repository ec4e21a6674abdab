"""A stack run as a process: it stops cleanly, comes back with its data, survives SIGKILL."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from functools import partial
from pathlib import Path

import psycopg
import urllib3
from botocore.exceptions import BotoCoreError, ClientError

from tests.devstack.foreground import Foreground, alive, mentions
from valetkey.devstack import process
from valetkey.devstack.aws.service import client
from valetkey.devstack.bao_api import BaoRefused
from valetkey.devstack.stack import down, status

CHILDREN = ("postgres", "openbao", "issuer", "aws")


def remember(stack: Foreground) -> None:
    """Write something into each child's storage."""
    stack.sql("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS number")
    stack.bao().write("valetkey/data/kept", data={"number": "42"})


def remembers(stack: Foreground, keys: object) -> bool:
    """Tell whether each has what it had, and AWS its sample; False while one is away."""
    try:
        row = stack.sql("SELECT number FROM kept")
        secret = stack.bao().read("valetkey/data/kept")["data"]["data"]
        kept = row == [(42,)] and secret == {"number": "42"} and issuer_keys(stack) == keys
        return kept and has_sample(stack)
    except (psycopg.OperationalError, urllib3.exceptions.HTTPError, BaoRefused):
        return False


def has_sample(stack: Foreground) -> bool:
    """Tell whether the AWS emulator, which keeps nothing, was given its sample target again."""
    aws = stack.endpoints["aws"]
    keys = Path(aws["credentials_file"]).read_text().split()
    try:
        roles = client(aws["endpoint"], "iam", (keys[3], keys[6]))
        name = aws["role_arn"].rpartition("/")[2]
        return bool(roles.list_role_policies(RoleName=name)["PolicyNames"] == ["access"])
    except (BotoCoreError, ClientError):
        return False


def is_another(stack: Foreground, name: str, before: int) -> bool:
    """Tell whether the child now runs under another pid."""
    return stack.pids()[name] != before


def issuer_keys(stack: Foreground) -> object:
    """The issuer's public keys."""
    url = stack.endpoints["issuer"]["url"] + "/.well-known/jwks"
    return urllib3.request("GET", url, retries=False, timeout=5).json()


def test_each_killed_child_comes_back_with_its_data(foreground: Foreground) -> None:
    """SIGKILL to each child in turn; each serves again by itself."""
    foreground.start()
    remember(foreground)
    keys = issuer_keys(foreground)
    for name in CHILDREN:
        before = foreground.pids()[name]
        os.kill(before, signal.SIGKILL)
        assert process.wait_until(partial(is_another, foreground, name, before), 20), name
        assert process.wait_until(lambda: remembers(foreground, keys), 20), name
    state = status(foreground.folder)
    assert state is not None
    assert state["restarts"] == dict.fromkeys(CHILDREN, 1)


def test_ctrl_c_leaves_no_process_and_the_next_start_has_ports_and_data(
    foreground: Foreground,
) -> None:
    """After SIGINT nothing of the stack runs; started again, it is the same stack."""
    foreground.start()
    remember(foreground)
    keys, first, pids = issuer_keys(foreground), foreground.endpoints, foreground.pids()
    assert foreground.interrupt() == 0
    assert mentions(foreground.folder) == []
    assert not any(alive(pid) for pid in pids.values())
    assert status(foreground.folder) is None
    assert not (foreground.folder / "run" / "valetkey-server.jwt").exists()
    foreground.start()
    assert foreground.endpoints == first
    assert remembers(foreground, keys)


def test_a_killed_supervisor_is_recovered_from(foreground: Foreground) -> None:
    """SIGKILL the supervisor: its orphans are ended by the next start, which has their data."""
    foreground.start()
    remember(foreground)
    keys, first, orphans = (
        issuer_keys(foreground),
        foreground.endpoints,
        foreground.pids(),
    )
    assert foreground.leader is not None
    foreground.leader.kill()
    foreground.leader.wait()
    assert all(alive(pid) for pid in orphans.values())
    assert status(foreground.folder) is None
    foreground.start()
    assert not any(alive(pid) for pid in orphans.values())
    assert foreground.endpoints == first
    assert remembers(foreground, keys)


def test_stale_pids_are_recovered_from_and_strangers_left_alone(
    foreground: Foreground, innocent: int
) -> None:
    """Pid records and a postmaster.pid that name somebody else's process stop nothing."""
    foreground.start()
    remember(foreground)
    keys = issuer_keys(foreground)
    data = data_of(foreground)
    foreground.interrupt()
    for name in CHILDREN:
        stale = {"pid": innocent, "started": "1"}
        (foreground.folder / "run" / f"{name}.pid").write_text(json.dumps(stale))
    (data / "postmaster.pid").write_text(f"{innocent}\n{data}\n1700000000\n5432\n\n\n")
    foreground.start()
    assert remembers(foreground, keys)
    assert alive(innocent)


def data_of(stack: Foreground) -> Path:
    """Where PostgreSQL keeps its files."""
    return Path(str(stack.sql("SHOW data_directory")[0][0]))


def test_a_second_up_of_the_same_folder_is_refused_and_down_ends_the_first(
    foreground: Foreground,
) -> None:
    """One folder has one stack; `down` ends it from another process, and twice is no error."""
    foreground.start()
    second = subprocess.run(
        [
            foreground.python,
            "-m",
            "valetkey.devstack.stack",
            "--data",
            str(foreground.folder),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert second.returncode == 1
    assert "already up" in second.stderr
    assert down(foreground.folder) is True
    assert mentions(foreground.folder) == []
    assert down(foreground.folder) is False


def test_every_secret_is_private_and_the_state_holds_none(
    foreground: Foreground,
) -> None:
    """Secrets are 0600 files under 0700 folders; `state.json` and the logs contain none."""
    foreground.start()
    secrets = []
    for path in (foreground.folder / "secrets", foreground.folder / "issuer"):
        assert path.stat().st_mode & 0o777 == 0o700
        for file in path.iterdir():
            assert file.stat().st_mode & 0o777 == 0o600, file
            secrets.append(file.read_text(encoding="utf-8").strip())
    shown = (foreground.folder / "state.json").read_text(encoding="utf-8")
    shown += "".join(log.read_text(errors="replace") for log in logs(foreground))
    passwords = [text for text in secrets if not text.startswith(("{", "postgresql:"))]
    keys = json.loads((foreground.folder / "secrets" / "openbao.keys").read_text())
    assert len(passwords) >= 5
    for secret in [*passwords, *keys.values()]:
        assert secret not in shown


def logs(stack: Foreground) -> list[Path]:
    """All log files."""
    return sorted((stack.folder / "logs").iterdir())


def test_deleting_the_data_folder_ends_the_stack(foreground: Foreground) -> None:
    """`rm -rf` of the folder is a reset: nothing keeps running, and the next start is new."""
    foreground.start()
    remember(foreground)
    pids, home = foreground.pids(), data_of(foreground).parent
    shutil.rmtree(foreground.folder)
    assert foreground.leader is not None
    assert foreground.leader.wait(timeout=40) == 0
    assert not any(alive(pid) for pid in pids.values())
    foreground.start()
    assert foreground.sql("SELECT to_regclass('kept')") == [(None,)]
    assert not home.exists() or home.is_relative_to(foreground.folder)
