"""Copies of our database and of OpenBao, taken and put back as an administrator would."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psycopg
import urllib3

from tests.faults.ground import until_true
from valetkey.devstack import orders
from valetkey.devstack.bao_api import Bao, BaoRefused
from valetkey.devstack.stack import Stack

OURS = "valetkey"


def copy_database(stack: Stack, name: str) -> None:
    """Copy our database to another name; nobody may be connected to it."""
    _run(stack, f"CREATE DATABASE {name} TEMPLATE {OURS} OWNER {orders.OWNER}")


def restore_database(stack: Stack, name: str) -> None:
    """Put a copy in the place of our database, which is gone then."""
    _run(stack, f"DROP DATABASE {OURS} WITH (FORCE)")
    _run(stack, f"ALTER DATABASE {name} RENAME TO {OURS}")


def copy_openbao(stack: Stack, to: Path) -> None:
    """Copy OpenBao's raft folder while its process stands still."""
    pid = stack.supervisor.pids()["openbao"]
    os.kill(pid, signal.SIGSTOP)
    try:
        shutil.copytree(stack.folder.root / "openbao", to)
    finally:
        os.kill(pid, signal.SIGCONT)


def restore_openbao(stack: Stack, copy: Path) -> None:
    """Put a copy in the place of the raft folder; OpenBao is killed and comes up with it."""
    pid = stack.supervisor.pids()["openbao"]
    os.kill(pid, signal.SIGSTOP)
    shutil.rmtree(stack.folder.root / "openbao")
    shutil.copytree(copy, stack.folder.root / "openbao")
    os.kill(pid, signal.SIGKILL)
    until_true(lambda: stack.supervisor.pids().get("openbao") not in (pid, None), 30)
    until_true(lambda: _is_active(stack), 30)


def _is_active(stack: Stack) -> bool:
    try:
        Bao(stack.openbao.address).read("sys/health")
    except (BaoRefused, urllib3.exceptions.HTTPError):
        return False
    return True


def _run(stack: Stack, statement: str) -> None:
    with psycopg.connect(stack.superuser_dsn("postgres"), autocommit=True) as connection:
        connection.execute(statement)
