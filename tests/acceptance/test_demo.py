"""The demo and the dev stack as processes: as told, and nothing left behind."""

from __future__ import annotations

import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from valetkey.cli.scripted import Person
from valetkey.devstack.workload import workload_token

CLI = (sys.executable, "-m", "valetkey.cli")
EXAMPLES = Path(__file__).parents[2] / "examples"
SCENES = 12
pytestmark = pytest.mark.timeout(300)


def _env(tmp_path: Path, **more: str) -> dict[str, str]:
    """An environment with an empty home and nothing of the real one."""
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir(exist_ok=True)
    plain = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    return plain | {"TMPDIR": str(tmp_path / "temporary")} | more


def _valetkey(env: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*CLI, *argv], env=env, capture_output=True, text=True, check=False, timeout=240
    )


def _wait(done: Callable[[], bool], within: float) -> None:
    deadline = time.monotonic() + within
    while not done():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.1)


def _ready(data: Path) -> dict | None:
    try:
        state = json.loads((data / "state.json").read_text())
    except (FileNotFoundError, ValueError):
        return None
    return state if state["ready"] else None


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_demo_is_as_told_and_leaves_nothing(tmp_path: Path) -> None:
    """Every scene with every check; no profile, no folder, no secret afterwards."""
    env = _env(tmp_path)
    done = _valetkey(env, "demo", "--json")
    assert done.returncode == 0, done.stderr + done.stdout
    told = json.loads(done.stdout)
    assert told["as_told"] is True
    assert len(told["steps"]) == SCENES
    assert all(step["checked"] for step in told["steps"])
    assert not list((tmp_path / "home").iterdir())
    assert not list((tmp_path / "temporary").iterdir())


def test_a_demo_that_cannot_be_told_exits_1(tmp_path: Path) -> None:
    """Here something else is where its stack should be."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "stack").write_text("not a folder")
    done = _valetkey(_env(tmp_path), "demo", "--data", str(tmp_path / "data"), "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["as_told"] is False


def test_a_demo_that_is_stopped_takes_its_stack_down(tmp_path: Path) -> None:
    """SIGTERM in the middle of the story ends every child."""
    data = tmp_path / "data"
    running = subprocess.Popen(
        [*CLI, "demo", "--data", str(data)], env=_env(tmp_path), stdout=subprocess.DEVNULL
    )
    try:
        _wait(lambda: _ready(data / "stack") is not None, 120)
        state = _ready(data / "stack") or {}
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=60) == 128 + signal.SIGTERM
    finally:
        running.kill()
        running.wait()
    assert state["pids"]
    _wait(lambda: not any(_alive(pid) for pid in state["pids"].values()), 20)


def test_dev_up_serves_and_touches_only_its_own_profile(tmp_path: Path) -> None:
    """Up, looked at, logged in to, examined, down and destroyed, through the CLI alone."""
    env = _env(tmp_path)
    data = tmp_path / "stack"
    other = tmp_path / "home" / ".config" / "valetkey" / "profiles" / "other" / "profile.json"
    other.parent.mkdir(parents=True)
    other.write_text('{"url": "https://valetkey.example.com"}')
    up = _valetkey(env, "dev", "up", "--detach", "--not-durable", "--data", str(data))
    assert up.returncode == 0, up.stderr
    try:
        assert up.stdout.count("  valetkey ") == 3
        again = _valetkey(env, "dev", "up", "--detach", "--data", str(data))
        assert again.returncode == 1
        told = json.loads(_valetkey(env, "dev", "status", "--data", str(data), "--json").stdout)
        _logs_in_and_reads(env, told)
        _the_example_works(env, told, tmp_path)
        config = ("--config", told["config"])
        assert _valetkey(env, "doctor", *config).returncode == 0
        assert _valetkey(env, "reconcile", *config).returncode == 0
        assert _valetkey(env, "sweep", *config).returncode == 0
        assert json.loads(other.read_text()) == {"url": "https://valetkey.example.com"}
        written = other.parent.parent / "dev" / "profile.json"
        assert stat.S_IMODE(written.stat().st_mode) == 0o600
    finally:
        down = _valetkey(env, "dev", "down", "--destroy", "--data", str(data))
    assert down.returncode == 0, down.stderr
    assert not data.exists()
    assert _valetkey(env, "dev", "status", "--data", str(data)).returncode == 1


def _logs_in_and_reads(env: dict[str, str], told: dict) -> None:
    """What `dev up` says to try next."""
    person = Person("olivia", told["issuer"], Path(told["people_file"]))
    login = person.with_device_login(["--profile", "dev", "login", "--device"], env)
    assert login.returncode == 0, login.stderr
    shown = _valetkey(env, "--profile", "dev", "catalogue", "show", "--json")
    names = {target["name"] for target in json.loads(shown.stdout)["targets"]}
    assert "orders-db" in names


def _the_example_works(env: dict[str, str], told: dict, tmp_path: Path) -> None:
    """The bot of `examples/` is provisioned as its CI workflow does it, accepted, and run."""
    ci = {
        "VALETKEY_URL": told["valetkey"],
        "ACTIONS_ID_TOKEN_REQUEST_URL": told["ci_request_url"],
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": Path(told["ci_request_token_file"]).read_text(),
    }
    workflow = yaml.safe_load((EXAMPLES / "provision-agent.github.yml").read_text())
    (step,) = workflow["jobs"]["provision"]["steps"]
    argv = shlex.split(step["run"].replace("\\\n", " "))
    assert _valetkey(env | ci, *argv[1:]).returncode == 0
    accepted = _valetkey(env, "--profile", "dev", "agent", "accept", "refund-bot")
    assert accepted.returncode == 0, accepted.stderr
    token_file = tmp_path / "identity.jwt"
    request_token = Path(told["workload_request_token_files"]["refund-bot"]).read_text().strip()
    token_file.write_text(workload_token(told["issuer"], request_token, told["valetkey"]))
    bot = {"VALETKEY_URL": told["valetkey"], "VALETKEY_IDENTITY_TOKEN_FILE": str(token_file)}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "refund_bot.py"), "4012"],
        env=env | bot,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (0, "headphones: 3470 cents, delivered\n"), done.stderr


def test_the_dev_stack_is_refused_in_a_cluster(tmp_path: Path) -> None:
    """It is a command for one machine, never a setting."""
    env = _env(tmp_path, KUBERNETES_SERVICE_HOST="10.0.0.1")
    assert _valetkey(env, "dev", "up", "--data", str(tmp_path / "stack")).returncode == 2
    assert not (tmp_path / "stack").exists()
