"""`valetkey run`: a command gets a credential in its environment and the credential ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli import samples
from tests.cli.conftest import Terminal
from tests.cli.fake_broker import FakeBroker, problem

ENV = (sys.executable, "-c", "import os, json; print(json.dumps(dict(os.environ)))")
WAIT = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    "print('ready', flush=True)\n"
    "time.sleep(30)\n"
)


@pytest.fixture
def ready(broker: FakeBroker) -> FakeBroker:
    """A broker that grants everything."""
    broker.on("POST /v1/tasks", (201, samples.TASK))
    broker.on(
        "POST /v1/credentials",
        (201, {"lease": samples.LEASE, "credential": samples.CREDENTIAL}),
    )
    broker.on("POST /v1/tasks/task_1/end", (200, samples.RECEIPT))
    broker.on("POST /v1/leases/lease_1/revoke", (202, samples.LEASE))
    return broker


def _run(bot: Terminal, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "valetkey.cli", "run", *argv],
        env=_env(bot),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def _env(bot: Terminal) -> dict[str, str]:
    given = {name: str(value) for name, value in bot.env.items()}
    return {"PATH": os.environ["PATH"], "VALETKEY_HOME": str(bot.home), **given}


OPTIONS = ("--scope", "orders-db:read{region=eu}", "--ttl", "5m")


def test_the_command_gets_the_login_and_its_task_ends_with_it(
    bot: Terminal, ready: FakeBroker
) -> None:
    """PG* carry the login; the task made for the command is ended after it."""
    done = _run(bot, *OPTIONS, "--purpose", "look", "--", *ENV)
    assert done.returncode == 0, done.stderr
    for name, value in (("PGUSER", "vk-abc"), ("PGPASSWORD", "the-secret"), ("PGPORT", "5432")):
        assert f'"{name}": "{value}"' in done.stdout
    assert len(ready.made("POST /v1/tasks/task_1/end")) == 1
    assert "the-secret" not in done.stderr


def test_in_a_given_task_only_the_lease_ends(bot: Terminal, ready: FakeBroker) -> None:
    """The task is somebody else's and goes on."""
    assert _run(bot, *OPTIONS, "--task", "task_1", "--", "true").returncode == 0
    assert len(ready.made("POST /v1/leases/lease_1/revoke")) == 1
    assert not ready.made("POST /v1/tasks/task_1/end")


@pytest.mark.parametrize("code", [0, 3, 42])
def test_the_exit_code_is_the_commands_own(bot: Terminal, ready: FakeBroker, code: int) -> None:
    """Scripts see what the command said; the credential ends whatever it said."""
    command = (sys.executable, "-c", f"raise SystemExit({code})")
    assert _run(bot, *OPTIONS, "--purpose", "x", "--", *command).returncode == code
    assert len(ready.made("POST /v1/tasks/task_1/end")) == 1


def test_a_command_that_is_not_there_exits_127_and_ends_the_task(
    bot: Terminal, ready: FakeBroker
) -> None:
    """As a shell does; nothing is left out."""
    assert _run(bot, *OPTIONS, "--purpose", "x", "--", "no-such-command-here").returncode == 127
    assert len(ready.made("POST /v1/tasks/task_1/end")) == 1


def test_a_signal_goes_to_the_command_and_the_task_still_ends(
    bot: Terminal, ready: FakeBroker
) -> None:
    """SIGTERM to us is SIGTERM to it; then the credential ends."""
    running = subprocess.Popen(
        [
            *(sys.executable, "-m", "valetkey.cli", "run", *OPTIONS, "--purpose", "x", "--"),
            *(sys.executable, "-c", WAIT),
        ],
        env=_env(bot),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stdout.readline().strip() == "ready"
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=30) == 7
    running.stdout.close()
    assert len(ready.made("POST /v1/tasks/task_1/end")) == 1


def test_a_refused_request_runs_nothing(bot: Terminal, ready: FakeBroker, tmp_path: Path) -> None:
    """No credential, no command; the task that was made is ended."""
    ready.on("POST /v1/credentials", (403, problem("denied_by_policy", 403)))
    made = tmp_path / "made"
    assert _run(bot, *OPTIONS, "--purpose", "x", "--", "touch", str(made)).returncode == 1
    assert not made.exists()
    assert len(ready.made("POST /v1/tasks/task_1/end")) == 1


def test_a_waiting_request_runs_nothing_and_exits_3(bot: Terminal, ready: FakeBroker) -> None:
    """Nobody approved yet."""
    ready.on("POST /v1/credentials", (202, {"grant": samples.GRANT}))
    assert _run(bot, *OPTIONS, "--task", "task_1", "--", "true").returncode == 3


def test_an_ask_that_ends_with_its_own_task_says_how_to_wait(
    bot: Terminal, ready: FakeBroker
) -> None:
    """The grant that is shown can no longer be approved, and nobody is left to guess that."""
    ready.on("POST /v1/credentials", (202, {"grant": samples.GRANT}))
    done = _run(bot, *OPTIONS, "--purpose", "x", "--", "true")
    assert done.returncode == 3
    assert "--wait" in str(done.stderr)
    assert len(ready.made("POST /v1/tasks/task_1/end")) == 1


def test_task_and_purpose_exclude_each_other(bot: Terminal, broker: FakeBroker) -> None:
    """Usage."""
    assert _run(bot, *OPTIONS, "--", "true").returncode == 2
    assert _run(bot, *OPTIONS, "--task", "task_1", "--purpose", "x", "--", "true").returncode == 2
    assert not broker.calls
