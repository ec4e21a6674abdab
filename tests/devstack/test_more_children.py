"""Further children given by the caller, and a stack that runs detached."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import urllib3

from tests.devstack.foreground import Foreground, mentions
from valetkey.devstack import process
from valetkey.devstack.stack import AlreadyUp, detached, down, status
from valetkey.devstack.supervisor import NotReady

SCRIPT = """
import sys
from valetkey.devstack import process
from valetkey.devstack.command import Command
from valetkey.devstack.stack import Options, up

def more(stack):
    port = process.port_for(stack.folder, "server")
    argv = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    return [Command(stack.folder, "server", argv, port, "/", {"SAID": "hello"})]

up(sys.argv[1], Options(durable=False), more)
"""


def test_a_detached_stack_runs_and_revives_a_given_child_until_down(
    foreground: Foreground,
) -> None:
    """It returns when ready; the child gets its own environment, comes back, and ends with it."""
    argv = [sys.executable, "-c", SCRIPT, str(foreground.folder)]
    state = detached(foreground.folder, argv)
    before = state["pids"]["server"]
    assert os.getpgid(before) != os.getpgid(0)
    environment = Path(f"/proc/{before}/environ").read_bytes().split(b"\0")
    assert b"SAID=hello" in environment
    assert not any(entry.startswith(b"PGPASSWORD") for entry in environment)
    with pytest.raises(AlreadyUp):
        detached(foreground.folder, argv)
    os.kill(before, signal.SIGKILL)
    assert process.wait_until(lambda: answers(foreground, before), 20)
    assert down(foreground.folder) is True
    assert status(foreground.folder) is None
    assert mentions(foreground.folder) == []


def answers(stack: Foreground, before: int) -> bool:
    """Tell whether a new process of the child serves."""
    state = status(stack.folder)
    if state is None or state["pids"]["server"] == before:
        return False
    port = json.loads((stack.folder / "ports.json").read_text(encoding="ascii"))["server"]
    try:
        answer = urllib3.request("GET", f"http://127.0.0.1:{port}/", retries=False, timeout=5)
    except urllib3.exceptions.HTTPError:
        return False
    return answer.status == 200


def test_a_leader_that_fails_at_once_is_told_with_its_log(foreground: Foreground) -> None:
    """No waiting for the whole time limit, and nothing left running."""
    argv = [sys.executable, "-c", "raise SystemExit(3)", str(foreground.folder)]
    with pytest.raises(NotReady, match=r"supervisor\.log"):
        detached(foreground.folder, argv)
    assert mentions(foreground.folder) == []
