"""`valetkey rules`: versions of catalogue and policies; accepted, refused, gone back on."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from valetkey.cli.desk import DONE, REFUSED, Desk, stands_at_desk
from valetkey.cli.house import config_option, json_option, with_house
from valetkey.cli.login import freshly_posted, said_yes, way_option
from valetkey.cli.screen import Screen, clean

if TYPE_CHECKING:
    from valetkey.bootstrap import House

COLUMNS = ("number", "version", "cause", "by", "at", "reason")
PROPOSED = ("id", "version", "base", "rule", "state", "current", "created_at")
SHORT, LEAST = 12, 8
Json = dict[str, Any]


@click.group()
def rules() -> None:
    """Versions of catalogue and policies in the broker's store."""


@rules.command("list")
@stands_at_desk("person")
def list_(desk: Desk) -> int:
    """List what is in force and was, newest first, and what waits for an operator."""
    found = desk.get("/v1/rules")
    if desk.screen.as_json:
        desk.screen.document(found)
        return DONE
    desk.screen.listed(found, COLUMNS, map(_short, found["activations"]))
    waiting = [one for one in found["proposals"] if one["state"] in ("waiting", "refused")]
    if waiting:
        desk.screen.listed(waiting, PROPOSED, map(_short, waiting))
    newest = found["activations"][0]["number"] if found["activations"] else None
    if found["serves"] != newest:
        desk.screen.aside(f"the replica that answered serves number {found['serves']}")
    return DONE


@rules.command()
@click.argument("version")
@stands_at_desk("person")
def show(desk: Desk, version: str) -> int:
    """Show one version with its files; VERSION is a digest, or how it begins."""
    found = _version(desk, _named(desk, version))
    if desk.screen.as_json:
        desk.screen.document(found)
        return DONE
    about = {name: value for name, value in found.items() if name not in ("files", "fresh_for")}
    desk.screen.show(found, about)
    for name, text in sorted(found["files"].items()):
        click.echo(f"\n# {name}")
        for line in text.splitlines():
            click.echo(clean(line))
    return DONE


@rules.command()
@click.argument("older", metavar="A")
@click.argument("newer", metavar="B")
@stands_at_desk("person")
def diff(desk: Desk, older: str, newer: str) -> int:
    """Show how the files of two versions differ."""
    was, becomes = (_version(desk, _named(desk, one))["files"] for one in (older, newer))
    lines = list(_differences(was, becomes))
    if desk.screen.as_json:
        desk.screen.document({"diff": lines})
    for line in lines if not desk.screen.as_json else ():
        click.echo(clean(line))
    return DONE


@rules.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@click.option("--yes", is_flag=True, help="Do not ask again after showing what it is.")
@way_option
@stands_at_desk("person")
def accept(desk: Desk, proposal_id: str, yes: bool, device: bool | None) -> int:
    """Show what would change, log in freshly for exactly this, and put it in force."""
    found = _proposal(desk, proposal_id)
    was, becomes = (_version(desk, found[one])["files"] for one in ("base", "version"))
    for name in ("version", "base", "rule", "created_by", "state", "current"):
        desk.screen.aside(f"  {name}: {clean(found[name])}")
    for line in _differences(was, becomes):
        desk.screen.aside(f"  {clean(line)}")
    done = said_yes(desk, found, f"/v1/rules/proposals/{found['id']}/accept", yes, device)
    if done is None:
        return REFUSED
    desk.screen.show(done, done)
    return DONE


@rules.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@stands_at_desk("person")
def refuse(desk: Desk, proposal_id: str) -> int:
    """Say no to a version that waits."""
    found = desk.post(f"/v1/rules/proposals/{_proposal(desk, proposal_id)['id']}/refuse")
    desk.screen.show(found, found)
    return DONE


@rules.command()
@click.argument("version", required=False)
@click.option("--reason", required=True, help="Why, for the record.")
@way_option
@stands_at_desk("person")
def rollback(desk: Desk, version: str | None, reason: str, device: bool | None) -> int:
    """Put VERSION in force again; without one, what was in force before."""
    digest = _named(desk, version) if version else _before(desk)
    found = _version(desk, digest)
    named, path = str(found["fresh_for"] or ""), f"/v1/rules/versions/{digest}/activate"
    done = freshly_posted(desk, named, device, path, {"reason": reason})
    desk.screen.show(done, done)
    return DONE


@rules.command()
@config_option
@json_option
@click.option("--by", required=True, help="Who begins; goes on record.")
@click.option("--reason", default="the first version", show_default=True, help="Goes on record.")
@click.pass_context
def init(ctx: click.Context, config: Path | None, as_json: bool, by: str, reason: str) -> None:
    """Make the files that the configuration names the first version in the store."""
    from valetkey.flows.decide_rules import begin_rules
    from valetkey.policy.rule_files import Folders

    screen = Screen(as_json)

    def run(house: House) -> int:
        settings = house.settings
        folders = Folders(settings.catalogue, settings.policies)
        made = begin_rules(house.broker, folders.files(), by, reason)
        told = {"number": made.number, "version": made.digest, "by": made.by}
        screen.show(told, told)
        return DONE

    ctx.exit(with_house(screen, config, run))


def _version(desk: Desk, digest: str) -> Json:
    found: Json = desk.get(f"/v1/rules/versions/{digest}")
    return found


def _named(desk: Desk, given: str) -> str:
    """The digest that begins so, among those in force before and those proposed."""
    found = desk.get("/v1/rules")
    known = {one["version"] for one in (*found["activations"], *found["proposals"])}
    if len(given) == 64:
        return given
    fits = sorted(digest for digest in known if len(given) >= LEAST and digest.startswith(given))
    if len(fits) != 1:
        raise ValueError(f"{len(fits)} versions begin so; give {LEAST} characters or more")
    return str(fits[0])


def _before(desk: Desk) -> str:
    """What was in force before what is in force now."""
    listed = desk.get("/v1/rules")["activations"]
    for one in listed:
        if one["version"] != listed[0]["version"]:
            return str(one["version"])
    raise ValueError("nothing was in force before")


def _proposal(desk: Desk, proposal_id: str) -> Json:
    for one in desk.get("/v1/rules")["proposals"]:
        if one["id"] == proposal_id:
            return dict(one)
    raise ValueError("no such proposal; see valetkey rules list")


def _short(one: Json) -> Json:
    shorter: Json = {name: str(one[name])[:SHORT] for name in ("version", "base") if name in one}
    return {**one, **shorter}


def _differences(was: Mapping[str, str], becomes: Mapping[str, str]) -> Iterator[str]:
    """Unified differences of all files, by name."""
    for name in sorted(was.keys() | becomes.keys()):
        old, new = was.get(name, "").splitlines(), becomes.get(name, "").splitlines()
        yield from difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
