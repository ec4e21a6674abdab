"""`valetkey demo`: the whole story of a credential, on a stack of its own, in under a minute.

It uses nothing but the public HTTP API and this CLI, verifies every step, and takes everything
down again.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from valetkey.cli.desk import DONE, REFUSED
from valetkey.cli.screen import Screen
from valetkey.cli.scripted import CLI

_OPENING = (
    "This is Valetkey, a credential broker. You will see an agent get a database login that can "
    "do exactly what its task needs, use it, overstep, and lose it when the task ends. PostgreSQL, "
    "OpenBao, the identity issuer and Valetkey are real processes on this machine. The people are "
    "scripted, and log in like anybody else."
)


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep everything in this folder; without it, nothing is left behind.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def demo(ctx: click.Context, data: Path | None, as_json: bool) -> None:
    """Tell the whole story of a credential; exit 1 at the first step that is not as told."""
    from valetkey.cli.demo_stage import NotAsTold, Teller

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    teller = Teller(quiet=as_json)
    folder = data or Path(tempfile.mkdtemp(prefix="valetkey-demo-"))
    failure = None
    try:
        _tell(folder.absolute(), teller)
    except (NotAsTold, subprocess.SubprocessError) as wrong:
        failure = str(wrong)
        _show_log(folder / "stack" / "logs" / "valetkey.log")
    finally:
        _take_down(folder, keep=data is not None)
    seconds = round(time.monotonic() - teller.began, 1)
    told = {"as_told": failure is None, "seconds": seconds, "steps": teller.steps}
    _close(Screen(as_json), told | ({"failure": failure} if failure else {}))
    ctx.exit(REFUSED if failure else DONE)


def _tell(folder: Path, teller: Any) -> None:
    from valetkey.cli.demo_stage import Stage
    from valetkey.cli.demo_story import whole_story

    teller.tell(_OPENING)
    teller.scene("Everything is started")
    teller.command("you", "valetkey dev up --detach")
    about = _valetkey("dev", "up", "--detach", "--no-profile", "--data", str(folder / "stack"))
    for name in ("valetkey", "issuer", "openbao", "postgres"):
        teller.verify(bool(about.get(name)), f"{name} is up at {about.get(name)}")
    actors = folder / "actors"
    actors.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole_story(Stage(about, actors, teller))
    teller.scene("The doctor looks at database and back ends")
    teller.command("you", "valetkey doctor")
    well = _valetkey("doctor", "--config", str(about["config"]))
    teller.verify(not well["violations"], f"{len(well['checked'])} invariants hold")


def _valetkey(*argv: str) -> dict[str, Any]:
    """Run one CLI command; its JSON. Raises NotAsTold when it fails."""
    from valetkey.cli.demo_stage import NotAsTold

    env = {name: value for name, value in os.environ.items() if not name.startswith("VALETKEY_")}
    done = subprocess.run(
        [*CLI, *argv, "--json"], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    if done.returncode:
        raise NotAsTold(f"`valetkey {' '.join(argv[:2])}` failed: {done.stderr.strip()}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _take_down(folder: Path, *, keep: bool) -> None:
    stack = folder / "stack"
    more = [] if keep else ["--destroy"]
    command = [*CLI, "dev", "down", "--data", str(stack), *more]
    subprocess.run(command, stdout=subprocess.DEVNULL, timeout=120, check=False)
    if not keep:
        shutil.rmtree(folder, ignore_errors=True)


def _show_log(log: Path) -> None:
    if log.exists():
        click.echo("the last lines of Valetkey's log:", err=True)
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        click.echo("\n".join(lines[-15:]), err=True)


def _close(screen: Screen, told: dict[str, Any]) -> None:
    if screen.as_json:
        return screen.document(told)
    screen.say("")
    if told["as_told"]:
        checked = sum(len(step["checked"]) for step in told["steps"])
        seconds = told["seconds"]
        screen.say(f"Everything was as told: {checked} things verified in {seconds} s.")
    else:
        screen.aside(f"NOT AS TOLD: {told['failure']}")
    return None
