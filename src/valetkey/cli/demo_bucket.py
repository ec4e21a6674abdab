"""The demo's chapter about a bucket at AWS, which here is an emulator, and is called one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from valetkey.cli.demo_stage import Actor, Stage

SCOPE = "orders-exports:read"
READ = "orders-exports:read{prefix=eu/}"
EU, US = "eu/2026-01.csv", "us/2026-01.csv"
WITHIN = 20.0
PAUSE = 0.25


def bucket(stage: Stage, bot: Actor) -> None:
    """A session of a role: narrow, fenced, and refused when its task ends."""
    say = stage.teller
    say.scene("A bucket at AWS (emulated, unproven on AWS)")
    say.tell(
        "Next it sends a customer an export, from a bucket. STS gives no session under 900 s, and "
        "none can be taken back. This one gets two minutes of one prefix."
    )
    started = ("task", "start", "--purpose", "send an export", "--scope", SCOPE, "--ttl", "10m")
    task = bot.does(*started)["id"]
    got = bot.does("request", READ, "--task", task, "--ttl", "2m")
    lease, credential = got["lease"], got["credential"]
    say.verify(
        lease["fenced_at"] == lease["expires_at"] < lease["backend_expires_at"],
        f"its own policy ends it at {lease['fenced_at']}, AWS only at "
        f"{lease['backend_expires_at']}: both are told",
    )
    say.command(bot.name, f"aws s3 cp s3://{credential['bucket']}/{EU} -")
    read, no = refusal_of(credential, EU), refusal_of(credential, US)
    say.verify(read is None, f"unmodified boto3 reads {EU}")
    say.verify(no == "AccessDenied", f"and is refused {US}: {no}")
    _ended(stage, bot, task, got)


def _ended(stage: Stage, bot: Actor, task: str, got: Mapping[str, Any]) -> None:
    say, lease = stage.teller, got["lease"]["id"]
    receipt = bot.does("task", "end", task, exit_code=3)
    say.verify(receipt["status"] == "settling", "the task ends; its receipt says: not over yet")
    until = time.monotonic() + WITHIN
    shown = bot.does("lease", "show", lease)
    while not shown["denied_at"] and time.monotonic() < until:
        time.sleep(PAUSE)
        shown = bot.does("lease", "show", lease)
    say.verify(shown["state"] == "ending" and shown["denied_at"], f"denied at {shown['denied_at']}")
    no = refusal_of(got["credential"], EU)
    say.verify(no == "AccessDenied", f"boto3 tries {EU} again: {no}")
    say.verify(
        bool(shown["still_valid_until"]) and not shown["proof"],
        f"denied is not ended: the session lives until {shown['still_valid_until']}, and the "
        "refusal is looked at again every second until then",
    )


def refusal_of(credential: Mapping[str, Any], key: str) -> str | None:
    """AWS's code for why an object is not to be read with it; None when it is."""
    import boto3
    from botocore.exceptions import ClientError

    s3 = boto3.client(
        "s3",
        region_name=credential["region"],
        endpoint_url=credential.get("endpoint_url"),
        aws_access_key_id=credential["access_key_id"],
        aws_secret_access_key=credential["secret_access_key"],
        aws_session_token=credential["session_token"],
    )
    try:
        s3.get_object(Bucket=credential["bucket"], Key=key)["Body"].close()
    except ClientError as refused:
        return str(refused.response["Error"]["Code"])
    finally:
        s3.close()
    return None
