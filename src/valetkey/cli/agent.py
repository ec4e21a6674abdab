"""`valetkey agent`: provisioned by CI, accepted by their owners, disabled by people."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from valetkey.cli import proposals as proposed
from valetkey.cli.desk import DONE, Desk, stands_at_desk
from valetkey.cli.login import way_option
from valetkey.cli.snippets import FILES, snippet
from valetkey.cli.values import PAIR, once_each
from valetkey.core.client_key import CLIENT_KEY

COLUMNS = ("id", "name", "owner", "team", "state")
STAYS = (
    "Its tokens are good for minutes still, and its tasks go on to their ends: "
    "`task end` ends one, `kill order agent` all."
)


@click.group()
def agent() -> None:
    """Register, bind, accept, disable and look at agents."""


@agent.command()
@click.argument("name")
@click.option("--owner", required=True, help="Email of the human who answers for it.")
@click.option("--team", required=True, help="Its team.")
@click.option("--label", "labels", type=PAIR, multiple=True, help="A label, key=value.")
@click.option("--boundary", multiple=True, help="A scope that it may never go beyond.")
@click.option(
    "--bind",
    "bindings",
    type=(str, PAIR),
    multiple=True,
    help="A registered issuer and one claim=value that is the agent's there.",
)
@stands_at_desk("workload")
def register(
    desk: Desk,
    name: str,
    owner: str,
    team: str,
    labels: tuple[tuple[str, str], ...],
    boundary: tuple[str, ...],
    bindings: tuple[tuple[str, tuple[str, str]], ...],
) -> int:
    """Provision an agent, as a CI job, within what its trust rule allows."""
    body = {
        "name": name,
        "owner": owner,
        "team": team,
        "labels": once_each(labels),
        "boundary": list(boundary),
        "bindings": [_binding(issuer, [claim]) for issuer, claim in bindings],
    }
    return _shown(desk, desk.post("/v1/agents", body))


@agent.command()
@click.argument("agent_id", metavar="AGENT")
@click.argument("issuer", required=False)
@click.argument("claims", type=PAIR, nargs=-1)
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A key of the agent's own, JWK or PEM; only its public part is sent.",
)
@click.option(
    "--platform",
    type=click.Choice(list(FILES)),
    help="Print what to paste there; without an issuer, nothing else is done.",
)
@stands_at_desk("either")
def bind(
    desk: Desk,
    agent_id: str,
    issuer: str | None,
    claims: tuple[tuple[str, str], ...],
    key_file: Path | None,
    platform: str | None,
) -> int:
    """Bind one more workload identity: an issuer and the claims that pin it, or a key."""
    only_print = platform is not None and issuer is None and key_file is None
    if not only_print and ((key_file is None) == (issuer is None) or bool(issuer) != bool(claims)):
        raise click.UsageError("give an issuer with claims, --key-file, or --platform alone")
    paste = _paste(desk, agent_id, platform) if platform else None
    if only_print:
        return _pasted(desk, {}, paste)
    from valetkey.cli.client_keys import public_members

    pins = claims if key_file is None else public_members(key_file).items()
    made = desk.post(f"{_path(agent_id)}/bindings", _binding(issuer or CLIENT_KEY, pins))
    if paste is not None:
        return _pasted(desk, made, paste)
    desk.screen.show(made, made)
    return DONE


@agent.command()
@click.argument("agent_id", metavar="AGENT")
@click.argument("binding_id", metavar="BINDING")
@stands_at_desk("either")
def unbind(desk: Desk, agent_id: str, binding_id: str) -> int:
    """Take a workload identity away: it gets no token any more. `agent show` lists the bindings."""
    path = f"{_path(agent_id)}/bindings/{quote(binding_id, safe='')}/unbind"
    found = desk.post(path)
    desk.screen.aside(STAYS)
    return _shown(desk, found)


def _paste(desk: Desk, agent_id: str, platform: str) -> str:
    try:
        return snippet(platform, agent_id, desk.profile.url, desk.profile.audience)
    except ValueError as why:
        raise click.UsageError(str(why)) from None


def _pasted(desk: Desk, made: dict[str, Any], paste: str | None) -> int:
    """The text alone on stdout, to be redirected; for machines the binding with it."""
    text = paste or ""
    if desk.screen.as_json:
        desk.screen.document({**made, "snippet": text})
    elif made:
        desk.screen.aside(f"bound: {made.get('id')}")
    for line in text.splitlines():
        desk.screen.say(line)
    return DONE


@agent.command("list")
@stands_at_desk("either")
def list_(desk: Desk) -> int:
    """List the agents that you may see."""
    found = desk.get("/v1/agents")
    desk.screen.listed(found, COLUMNS, found["items"])
    return DONE


@agent.command()
@click.argument("agent_id", metavar="AGENT")
@stands_at_desk("either")
def show(desk: Desk, agent_id: str) -> int:
    """Show one agent, by id or name."""
    return _shown(desk, desk.get(_path(agent_id)))


@agent.command()
@click.argument("agent_id", metavar="AGENT_OR_PROPOSAL")
@click.option("--digest", help="Only if the agent is as `agent show` told it under this digest.")
@click.option("--yes", is_flag=True, help="Do not ask again after showing what is proposed.")
@way_option
@stands_at_desk("person")
def accept(
    desk: Desk, agent_id: str, digest: str | None, yes: bool, device: bool | None
) -> int:
    """Answer for an agent that names you as its owner; or accept what a job proposed for one."""
    if agent_id.startswith("proposal_"):
        return proposed.accepted(desk, agent_id, yes, device)
    known = {} if digest is None else {"If-Match": f'"{digest}"'}
    answer = desk.broker.call("POST", f"{_path(agent_id)}/accept", headers=known).body
    return _shown(desk, answer)


@agent.command()
@click.argument("proposal_id", metavar="[PROPOSAL]", required=False)
@stands_at_desk("person")
def proposals(desk: Desk, proposal_id: str | None) -> int:
    """List what jobs would widen about your agents, or show one such proposal."""
    if proposal_id is None:
        return proposed.listed(desk)
    return proposed.shown(desk, proposed.looked_at(desk, proposal_id))


@agent.command()
@click.argument("proposal_id", metavar="PROPOSAL")
@stands_at_desk("person")
def refuse(desk: Desk, proposal_id: str) -> int:
    """Say no to a proposal; it is not proposed again, and you may still accept it."""
    return proposed.shown(desk, desk.post(f"{proposed.path_of(proposal_id)}/refuse"))


@agent.command()
@click.argument("agent_id", metavar="AGENT")
@stands_at_desk("person")
def disable(desk: Desk, agent_id: str) -> int:
    """Stop an agent: it may not ask, and everything it holds starts to end."""
    return _shown(desk, desk.post(f"{_path(agent_id)}/disable"))


def _path(agent_id: str) -> str:
    return f"/v1/agents/{quote(agent_id, safe='')}"


def _binding(issuer: str, claims: Iterable[tuple[str, str]]) -> dict[str, object]:
    return {"issuer": issuer, "claims": once_each(claims)}


def _shown(desk: Desk, found: dict[str, Any]) -> int:
    names = (*COLUMNS, "labels", "boundary", "created_by", "created_by_rule")
    rows: dict[str, object] = {name: found.get(name) for name in names}
    rows |= {name: found.get(name) for name in ("accepted_at", "digest")}
    for number, binding in enumerate(found.get("bindings", ()), 1):
        rows[f"binding {number}"] = f"{binding['id']} {binding['issuer']} {binding['claims']}"
    desk.screen.show(found, rows)
    return DONE
