"""The story that the demo tells, scene by scene; each scene verifies what it says."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from valetkey.cli.demo_bucket import SCOPE, bucket
from valetkey.cli.demo_database import (
    Reconnecting,
    connect,
    may_come_in,
    psql_line,
    refusal_of,
)
from valetkey.cli.demo_stage import Actor, NotAsTold, Stage
from valetkey.cli.scripted import PATIENCE

READ = "orders-db:read{region=eu}"
WRITE = "orders-db:write{region=eu}"
ORDER = 4012
QUERY = "SELECT id, item, amount_cents FROM orders WHERE id = 4012"
REFUND = (
    "INSERT INTO refunds (order_id, amount_cents, reason, region) "
    "VALUES ({order}, 100, 'demo', '{region}')"
)


@dataclass
class Cast:
    """Everybody in the story, and what they hold while it is told."""

    stage: Stage
    ci: Actor
    olivia: Actor
    bot: Actor
    other: Actor
    task: str = ""
    read: dict[str, Any] = field(default_factory=dict, repr=False)
    write: dict[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, stage: Stage) -> Cast:
        """Everybody, each with a home of their own; nobody holds anything yet."""
        about = stage.about
        ci = {
            "ACTIONS_ID_TOKEN_REQUEST_URL": str(about["ci_request_url"]),
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": _text(about["ci_request_token_file"]),
        }
        bots = {
            name: Actor.on(stage, name, VALETKEY_IDENTITY_TOKEN_FILE=str(_token(stage, name)))
            for name in ("refund-bot", "report-bot")
        }
        return cls(
            stage=stage,
            ci=Actor.on(stage, "ci-job", **ci),
            olivia=Actor.on(stage, "olivia"),
            bot=bots["refund-bot"],
            other=bots["report-bot"],
        )


def whole_story(stage: Stage) -> None:
    """Tell it. Raises NotAsTold at the first step that is not as told."""
    cast = Cast.of(stage)
    for scene in (_provisioned, _accepted, _task, _read, _write, _denied, _overstep, _ended):
        scene(cast)
    bucket(stage, cast.bot)
    _told(cast)


def _provisioned(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("A CI job provisions refund-bot")
    say.tell(
        "The job shows the token its CI platform signed for this run. A trust rule in "
        "valetkey.yaml says what jobs of this repository and environment may set up. Nobody "
        "holds an API key."
    )
    made = _registered(cast.ci, "refund-bot", ("orders-db:read", WRITE, SCOPE))
    say.verify(made["state"] == "proposed", "refund-bot is proposed; it may ask for nothing yet")
    say.verify(made["created_by_rule"] == "refunds-deploy", "the rule that allowed it is recorded")
    no = cast.ci.is_refused(
        *("agent", "register", "payroll-bot", "--owner", "olivia@example.com"),
        *("--team", "refunds", "--boundary", "orders-db:read"),
    )
    say.verify(no["code"] == "outside_trust_rule", f"another name is refused: {no['detail']}")


def _accepted(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("Its owner, a named human, accepts it")
    cast.bot.gets_identity(_token(cast.stage, "refund-bot"))
    no = cast.bot.is_refused(*_start("too early"))
    say.verify(no["code"] == "agent_not_accepted", f"before that it is refused: {no['detail']}")
    cast.olivia.logs_in()
    agent = cast.olivia.does("agent", "accept", "refund-bot")
    say.verify(agent["state"] == "accepted", "olivia logged in (device flow) and answers for it")


def _task(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("The bot starts a task for a customer's refund")
    say.tell(
        "It proves itself with the identity token that its platform keeps in a file. Authority is "
        "given for the task and dies with it."
    )
    task = cast.bot.does(*_start(f"refund for order {ORDER}"))
    cast.task = task["id"]
    say.verify(task["state"] == "open", f"{task['id']} is open until {task['deadline_at']}")


def _read(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("It asks to read the orders of one region for five minutes")
    got = cast.bot.does("request", READ, "--task", cast.task, "--ttl", "5m")
    cast.read = got
    lease, credential = got["lease"], got["credential"]
    say.verify(lease["granted_ttl"] == 300, f"granted 300 s, cut by: {lease['cut_by']}")
    say.tell(f"PostgreSQL has a new login, {credential['username']}, until {lease['expires_at']}.")
    say.command("refund-bot", psql_line(credential, QUERY))
    with connect(credential) as session:
        rows = session.execute(QUERY.encode()).fetchall()
        say.verify(len(rows) == 1, f"a real query answers: {rows}")
        _other_region(cast, session)


def _other_region(cast: Cast, session: psycopg.Connection[Any]) -> None:
    say = cast.stage.teller
    found = session.execute("SELECT count(*) FROM orders WHERE region = 'us'").fetchone()
    say.verify(found == (0,), "PostgreSQL itself shows it no row of the other region")
    for statement in ("SET ROLE orders_us_reader", REFUND.format(order=ORDER, region="eu")):
        no = refusal_of(session, statement)
        said = f"PostgreSQL refuses `{statement.split(' (')[0]}`: {no}"
        say.verify(no is not None and no.startswith("42501"), said)


def _write(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("It asks to write, and a human decides")
    asked = (
        "request",
        WRITE,
        "--task",
        cast.task,
        "--ttl",
        "5m",
        "--reason",
        "refund the customer",
    )
    grant = cast.bot.does(*asked, exit_code=3)["grant"]
    say.verify(grant["state"] == "waiting" and not grant["lease"], "it waits; nothing is minted")
    say.tell(
        "The scripted approver is a separate process. It logs in by the real device flow, is shown "
        "what it approves, and logs in again freshly for exactly this grant:"
    )
    say.lines(_approved(cast.stage, grant["id"]))
    got = cast.bot.does("grant", "collect", grant["id"])
    cast.write = got
    say.verify(got["lease"]["state"] == "active", "the bot collects the credential, once")
    no = cast.bot.is_refused("grant", "collect", grant["id"])
    say.verify(no["code"] in ("already_delivered", "in_progress"), f"not twice: {no['code']}")
    with connect(got["credential"]) as session:
        mine, other = (REFUND.format(order=ORDER, region=region) for region in ("eu", "us"))
        say.command("refund-bot", psql_line(got["credential"], mine))
        say.verify(refusal_of(session, mine) is None, "the refund is written")
        no_us = refusal_of(session, other)
        say.verify(no_us is not None, f"PostgreSQL refuses one for the other region: {no_us}")


def _denied(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("It is denied something, and told why")
    us = ("orders-db:read{region=us}", "--task", cast.task, "--ttl", "5m")
    no = cast.bot.is_refused("request", *us)
    say.verify(no["code"] == "denied_by_policy", f"{no['code']}: {no['detail']}")
    say.tell(f"What to do now: {no['next_action']}")
    why = cast.bot.does("explain", *us, exit_code=1)
    say.verify(
        why["rules"] == ["stay-in-own-region"],
        "`explain` names the rule of the Cedar policy that decided: stay-in-own-region",
    )


def _overstep(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("It tries to overstep, and is refused each time")
    wider = ("request", "orders-db:write{region=us}", "--task", cast.task, "--ttl", "5m")
    no = cast.bot.is_refused(*wider)
    say.verify(no["code"] == "outside_task", f"a wider region: {no['detail']}")
    theirs = _task_of_another(cast)
    no = cast.bot.is_refused("request", READ, "--task", theirs, "--ttl", "5m")
    say.verify(no["code"] == "not_found", f"another agent's task: {no['detail']}")
    say.tell("Now somebody has seen a whole request of the bot and sends it again, as it was:")
    first, second = _same_request_twice(cast)
    say.verify(first == "answered", "the request itself is answered")
    say.verify(second == "proof_replayed", f"a replayed proof: {second}")


def _ended(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("The task ends, and every credential with it")
    read, write = cast.read["credential"], cast.write["credential"]
    session = connect(read)
    say.verify(session.execute("SELECT 1").fetchone() == (1,), "a session is open and works")
    with Reconnecting(read) as client:
        client.wait_for_tries(3, 0.0)
        say.verify(client.since(0.0)[1] > 0, "another client comes in again and again, in a loop")
        receipt = cast.bot.does("task", "end", cast.task, "--wait", "20s")
        ended = time.monotonic()
        for lease in receipt["leases"]:
            say.verify(
                (lease["state"], lease["proof"]) == ("ended", "verified"),
                f"{lease['scope']} is ended, proof: {lease['proof']}",
            )
        no = refusal_of(session, "SELECT 1")
        session.close()
        say.verify(no is not None, f"the open session has dropped ({no})")
        client.wait_for_tries(20, ended)
        tries, came_in = client.since(ended)
        say.verify(tries >= 20 and not came_in, f"{tries} tries of the loop since: none came in")
    say.verify(not may_come_in(read), "the credential for reading is tried again: refused")
    say.verify(not may_come_in(write), "the credential for writing is tried again: refused")
    again = cast.bot.does("task", "receipt", cast.task)
    say.verify(again["id"] == receipt["id"], f"the receipt {again['id']} stays")
    late = cast.bot.is_refused("request", READ, "--task", cast.task, "--ttl", "5m")
    say.verify(late["code"] == "task_ended", f"a late ask: {late['detail']}")


def _told(cast: Cast) -> None:
    say = cast.stage.teller
    say.scene("The record tells it all")
    lease = cast.write["lease"]["id"]
    known = cast.olivia.does("lease", "lineage", lease)
    approvers = [one["approver"] for one in known["approvals"]]
    say.verify(approvers == ["arun@example.com"], f"approved by {approvers[0]}")
    say.verify(known["lease"]["proof"] == "verified", "its end is verified")
    say.lines(cast.olivia.prints("lease", "lineage", lease))
    auditor = Actor.on(cast.stage, "aud")
    auditor.logs_in()
    found = auditor.does("history", "search", "--task", cast.task, "--limit", "200")
    kinds = {fact["kind"] for fact in found["items"]}
    wanted = {"TaskStarted", "AskDenied", "AskWaiting", "GrantApproved", "LeaseEnded", "TaskEnded"}
    say.verify(wanted <= kinds, f"an auditor finds {len(found['items'])} facts of this task")


def _registered(ci: Actor, name: str, boundary: tuple[str, ...]) -> Any:
    bounds = [part for scope in boundary for part in ("--boundary", scope)]
    return ci.does(
        *("agent", "register", name, "--owner", "olivia@example.com", "--team", "refunds"),
        *("--label", "region=eu", "--label", "environment=production", *bounds),
        *("--bind", "workloads", f"sub=system:serviceaccount:refunds:{name}"),
    )


def _start(purpose: str) -> tuple[str, ...]:
    scopes = ("--scope", "orders-db:read", "--scope", WRITE)
    return ("task", "start", "--purpose", purpose, *scopes, "--ttl", "20m")


def _approved(stage: Stage, grant: str) -> str:
    """Have the scripted approver approve, as a process; what it printed."""
    person = stage.person("arun")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "valetkey.cli.scripted", "approve"),
            *("--issuer", person.issuer, "--people-file", str(person.people_file)),
            *("--person", person.name, "--grant", grant),
        ],
        env=dict(Actor.on(stage, "arun").env),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    if done.returncode:
        raise NotAsTold(f"the scripted approver failed: {done.stderr.strip()}")
    return done.stdout


def _task_of_another(cast: Cast) -> str:
    """A task of report-bot, which another CI environment provisions."""
    url = f"{cast.ci.env['ACTIONS_ID_TOKEN_REQUEST_URL']}&environment=reports"
    ci = Actor.on(
        cast.stage,
        "reports-ci",
        ACTIONS_ID_TOKEN_REQUEST_URL=url,
        ACTIONS_ID_TOKEN_REQUEST_TOKEN=cast.ci.env["ACTIONS_ID_TOKEN_REQUEST_TOKEN"],
    )
    _registered(ci, "report-bot", ("orders-db:read",))
    cast.olivia.does("agent", "accept", "report-bot")
    cast.other.gets_identity(_token(cast.stage, "report-bot"))
    scope = ("--scope", "orders-db:read", "--ttl", "10m")
    started = cast.other.does("task", "start", "--purpose", "a report", *scope)
    return str(started["id"])


def _same_request_twice(cast: Cast) -> tuple[str, str]:
    """The bot's own signed request, and exactly the same once more; what each came to."""
    from valetkey.agentside.client import Valetkey
    from valetkey.agentside.dpop import DpopKey
    from valetkey.agentside.identity import from_file
    from valetkey.agentside.wire import Refusal
    from valetkey.cli.profiles import Profile

    profile = Profile("default", Path(cast.bot.env["VALETKEY_HOME"]) / "profiles" / "default")
    key = DpopKey.kept(profile.key_file("workload"))
    url = f"{cast.stage.url}/v1/tasks/{cast.task}"
    with Valetkey(cast.stage.url, key, from_file(_token(cast.stage, "refund-bot"))) as broker:
        token = broker.session.access_token()
        seen = {"Authorization": f"DPoP {token}", "DPoP": key.make_proof("GET", url, token)}
        outcomes = []
        for _ in range(2):
            try:
                broker.session.wire.send("GET", url, seen)
                outcomes.append("answered")
            except Refusal as no:
                outcomes.append(no.code)
    return outcomes[0], outcomes[1]


def _token(stage: Stage, name: str) -> Path:
    return stage.folder / f"{name}.identity.jwt"


def _text(path: object) -> str:
    return Path(str(path)).read_text(encoding="ascii").strip()
