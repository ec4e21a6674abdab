"""Sessions of AWS when answers get lost and refusals are undone: real Postgres, an emulated AWS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError

import valetkey.devstack
from tests.faults.ground import Ground, get, lease_of, leases_of, operator, until_true
from tests.faults.rows import row
from valetkey.bootstrap import House
from valetkey.core.ask import Ask
from valetkey.core.errors import OutcomeUnknown
from valetkey.core.facts import HistoryQuery
from valetkey.core.lease import Lease, LeaseState, Proof
from valetkey.core.principal import Caller
from valetkey.core.scope import Scope
from valetkey.core.task import Task
from valetkey.devstack.aws import exports
from valetkey.devstack.aws.service import Aws, client
from valetkey.flows.doctor import doctor
from valetkey.flows.end_task import end_task
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.start_task import Plan, start_task
from valetkey.flows.verdicts import Issued

SCOPE = "orders-exports:read"
KEY = "eu/2026-01.csv"


@dataclass(frozen=True)
class Exports:
    """A ticking broker whose catalogue has the emulator's bucket, and an agent's open task."""

    ground: Ground
    house: House
    bot: Caller
    task: Task

    @property
    def aws(self) -> Aws:
        """The emulator."""
        return self.ground.stack.aws

    def ask(self) -> Ask:
        """For one prefix, for ten minutes."""
        scope = Scope.parse("orders-exports:read{prefix=eu/}")
        key = self.house.broker.new_id("key")
        return Ask(self.task.id, scope, timedelta(minutes=10), "because", key)

    def reads(self, issued: Issued) -> bool:
        """Whether AWS lets the credential in."""
        told = issued.secret.reveal()
        names = ("access_key_id", "secret_access_key", "session_token")
        keys = tuple(str(told[name]) for name in names)
        try:
            client(self.aws.address, "s3", keys).get_object(Bucket=exports.BUCKET, Key=KEY)
        except ClientError as refused:
            assert refused.response["Error"]["Code"] == "AccessDenied"
            return False
        return True

    def is_denied(self, lease_id: str) -> bool:
        """Whether we say that it is refused."""
        return lease_of(self.house, lease_id).denied_at is not None

    def delete_refusals(self) -> None:
        """Somebody takes the role's list away."""
        iam = self.aws.client("iam")
        try:
            iam.delete_role_policy(RoleName=exports.ROLE, PolicyName=exports.CUT_POLICY)
        except iam.exceptions.NoSuchEntityException:
            return

    def pass_time(self) -> None:
        """As if every session's own end had come: the record says so."""
        self.ground.look(
            "UPDATE leases SET backend_expires_at = clock_timestamp(), due_at = clock_timestamp()"
            " WHERE target = 'orders-exports' AND state <> 'ended'",
            database="valetkey",
        )


@pytest.fixture
def bucket(ground: Ground, tmp_path: Path) -> Iterator[Exports]:
    """The ground's broker with one more target; afterwards nothing of it is unended."""
    aws, folder = ground.stack.aws, tmp_path / "broker"
    shutil.copytree(ground.folder, folder)
    sample = Path(valetkey.devstack.__file__).parent / "sample" / "catalogue"
    text = (sample / "orders-exports.yaml").read_text().replace("5000", str(aws.port))
    (folder / "catalogue" / "orders-exports.yaml").write_text(text)
    _configure(folder / "valetkey.yaml", aws)
    here = replace(ground, folder=folder)
    with here.house() as house:
        house.clockwork.start()
        bot = here.bot(house)
        with house.store.transaction() as tx:
            agent = tx.agent(bot.agent_id or "", lock=True)
            assert agent is not None
            tx.save_agent(replace(agent, boundary=(Scope.parse(SCOPE),)))
        plan = Plan("an export", (Scope.parse(SCOPE),), timedelta(minutes=20))
        made = Exports(here, house, bot, start_task(house.broker, bot, plan))
        made.delete_refusals()
        yield made
        aws.turn(ahead=0, lag=0, faults=[])
        end_task(house.broker, operator(), made.task.id)
        made.pass_time()
        ended = lambda: all(x.state is LeaseState.ENDED for x in leases_of(house, made.task))  # noqa: E731
        until_true(ended, 20)
        made.delete_refusals()


def _configure(file: Path, aws: Aws) -> None:
    settings: dict[str, Any] = yaml.safe_load(file.read_text())
    settings["aws"] = {
        "access_key_file": str(aws.credentials_file),
        "external_id_file": str(aws.external_id_file),
        "sts_endpoint": aws.address,
        "iam_endpoint": aws.address,
    }
    file.write_text(yaml.safe_dump(settings))


def told_of(house: House, lease: Lease) -> list[str]:
    """What history tells of a lease, newest first."""
    with house.store.transaction() as tx:
        return [x.fact.kind.value for x in tx.history(HistoryQuery(lease_id=lease.id))]


@row("F44")
def test_a_session_ended_early_is_denied_and_stays_so_whoever_undoes_it(bucket: Exports) -> None:
    """Refused within seconds, `still_valid_until` told, written again when it is taken away."""
    house = bucket.house
    issued = get(house, bucket.bot, bucket.ask())
    assert bucket.reads(issued)
    revoke_lease(house.broker, operator(), issued.lease.id)
    until_true(lambda: bucket.is_denied(issued.lease.id), 10)
    assert not bucket.reads(issued)
    waiting = lease_of(house, issued.lease.id)
    assert waiting.state is LeaseState.ENDING
    assert waiting.still_valid_until == issued.lease.backend_expires_at
    assert doctor(house.broker) == []
    bucket.delete_refusals()
    until_true(lambda: "DenialLapsed" in told_of(house, issued.lease), 10)
    until_true(lambda: not bucket.reads(issued), 10)
    until_true(lambda: bucket.is_denied(issued.lease.id), 10)
    assert told_of(house, issued.lease).count("LeaseDenied") >= 1
    bucket.pass_time()
    until_true(lambda: lease_of(house, issued.lease.id).proof is Proof.EXPIRED, 10)


@row("F44")
def test_a_refusal_whose_answer_is_lost_is_written_until_it_is_read_back(bucket: Exports) -> None:
    """AWS is away, asks to wait, or did it and says that it did not: nothing is called denied."""
    house = bucket.house
    issued = get(house, bucket.bot, bucket.ask())
    away = {"action": "iam:PutRolePolicy", "status": 500, "code": "InternalFailure"}
    slow = {"action": "iam:GetRolePolicy", "status": 400, "code": "Throttling"}
    bucket.aws.turn(faults=[away, {**away, "after": True}, slow])
    revoke_lease(house.broker, operator(), issued.lease.id)
    until_true(lambda: bucket.is_denied(issued.lease.id), 20)
    assert not bucket.reads(issued)
    assert lease_of(house, issued.lease.id).tries == 0


@row("F44")
def test_a_session_whose_answer_was_lost_is_refused_by_its_tag(bucket: Exports) -> None:
    """It was made and nobody holds it: the row remembers as long as it could live."""
    house = bucket.house
    lost = {"action": "sts:AssumeRole", "status": 500, "code": "InternalFailure", "after": True}
    bucket.aws.turn(faults=[lost])
    with pytest.raises(OutcomeUnknown):
        request_credential(house.broker, bucket.bot, bucket.ask())
    (lease,) = leases_of(house, bucket.task)
    until_true(lambda: bucket.is_denied(lease.id), 10)
    assert lease_of(house, lease.id).backend_expires_at > lease.created_at + timedelta(minutes=15)
    document = bucket.aws.client("iam").get_role_policy(
        RoleName=exports.ROLE, PolicyName=exports.CUT_POLICY
    )["PolicyDocument"]
    assert lease.id.removeprefix("lease_") in str(document)
