"""The real minter for AWS over the emulator and a store in memory, and what its sessions can do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from valetkey.core.decision import Outcome
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Lease
from valetkey.core.scope import Scope
from valetkey.devstack.aws import exports
from valetkey.devstack.aws.service import Aws, client
from valetkey.flows.request_credential import request_credential
from valetkey.flows.revoke import revoke_lease
from valetkey.flows.sweep import sweep
from valetkey.flows.verdicts import Issued
from valetkey.minters.aws_clients import AwsClients, Endpoints, Identity
from valetkey.minters.aws_cut import Cutter, Known
from valetkey.minters.aws_roles import Roles
from valetkey.minters.aws_sts import AwsSts
from valetkey.minters.aws_witness import Witnesses
from valetkey.policy.catalogue import load_catalogue
from valetkey.ports import Broker
from valetkey.testing.brokers import FakeRules, Stage
from valetkey.testing.memory_cuts import MemoryCuts

PLACE = f"aws-sts {exports.ROLE_ARN}"
WITNESS = "\nwitness: {bucket: orders-exports, key: valetkey/witness}"
CATALOGUE = """\
target: orders-exports
minter: aws-sts
environment: production
owner: data@example.com
role_arn: arn:aws:iam::123456789012:role/valetkey-orders-exports
region: us-east-1
slots: SLOTSMORE
address: {bucket: orders-exports, endpoint_url: "ENDPOINT"}
scopes:
  read:
    mutates: false
    parameters: &no
      prefix: {kind: path_prefix}
    max_ttl: 15m
    session_policy:
      - {Effect: Allow, Action: ["s3:GetObject"], Resource: ["arn:aws:s3:::orders-exports/${prefix}*"]}
      - Effect: Allow
        Action: ["s3:ListBucket"]
        Resource: ["arn:aws:s3:::orders-exports"]
        Condition: {StringLike: {"s3:prefix": ["${prefix}*"]}}
""".replace(" &no", "")


class Ground:
    """A stage whose target is the emulator's bucket; its time is the real one, until it is moved."""

    def __init__(self, aws: Aws, folder: Path, *, slots: int = 100, witness: bool = False) -> None:
        self.aws, self.stage = aws, Stage()
        self.stage.memory.time = datetime.now(UTC)
        more = WITNESS if witness else ""
        text = CATALOGUE.replace("SLOTS", str(slots)).replace("MORE", more)
        (folder / "exports.yaml").write_text(text.replace("ENDPOINT", aws.address))
        self.catalogue = load_catalogue(folder)
        self.book = MemoryCuts(self.stage.memory)
        self.minter = self.replica()
        self.stage.policy.outcomes = {"read": Outcome.ALLOW}
        self.stage.broker = self.broker_over(self.minter)
        with self.stage.memory.transaction() as tx:
            tx.save_agent(replace(self.stage.agent, boundary=(Scope("orders-exports", "read"),)))
        self.task = self.stage.start("orders-exports:read")

    def replica(self) -> AwsSts:
        """Another process's minter over the same record."""
        aws = self.aws
        identity = Identity(
            access_key_file=aws.credentials_file, external_id_file=aws.external_id_file
        )
        clients = AwsClients(identity, Endpoints(sts=aws.address, iam=aws.address))
        store = self.stage.memory

        def lease(lease_id: LeaseId) -> Lease | None:
            with store.transaction() as tx:
                return tx.lease(lease_id)

        known = Known(self.book, lease, store.now, wait=lambda seconds: None)
        witnesses = Witnesses(clients, store.now)
        installation = self.stage.minter.installation
        cutter = Cutter(Roles(clients), witnesses, known, installation)
        return AwsSts(clients, cutter, lambda: self.catalogue, store.now)

    def broker_over(self, minter: AwsSts) -> Broker:
        """The broker of a replica."""
        rules = FakeRules(self.catalogue, self.stage.policy)
        return replace(self.stage.broker, minters={"aws-sts": minter}, rules=lambda: rules)

    def ask(self, prefix: str = "eu/", minutes: float = 5) -> Issued:
        """A session for one prefix."""
        ask = self.stage.ask(
            self.task, f"orders-exports:read{{prefix={prefix}}}", ttl=timedelta(minutes=minutes)
        )
        answer = request_credential(self.stage.broker, self.stage.bot, ask)
        assert isinstance(answer, Issued)
        return answer

    def revoke(self, *issued: Issued) -> None:
        """Ask for the end of some, and sweep."""
        for one in issued:
            revoke_lease(self.stage.broker, self.stage.operator, one.lease.id)
        sweep(self.stage.broker)

    def lease(self, issued: Issued) -> Lease:
        """As it is now."""
        with self.stage.memory.transaction() as tx:
            found = tx.lease(issued.lease.id)
        assert found is not None
        return found

    def s3(self, issued: Issued) -> Any:
        """A stock S3 client with what was handed out."""
        told = issued.secret.reveal()
        names = ("access_key_id", "secret_access_key", "session_token")
        keys = tuple(str(told[name]) for name in names)
        return client(str(told["endpoint_url"]), "s3", keys)

    def read(self, issued: Issued, key: str = "eu/2026-01.csv") -> str:
        """What is in an object; raises ClientError."""
        body = self.s3(issued).get_object(Bucket=exports.BUCKET, Key=key)["Body"]
        return str(body.read().decode())

    def document(self) -> dict[str, Any] | None:
        """What the role refuses now, as an administrator sees it."""
        iam = self.aws.client("iam")
        try:
            answer = iam.get_role_policy(RoleName=exports.ROLE, PolicyName=exports.CUT_POLICY)
        except iam.exceptions.NoSuchEntityException:
            return None
        found: dict[str, Any] = answer["PolicyDocument"]
        return found

    def put(self, document: dict[str, Any]) -> None:
        """Somebody who may writes another document there."""
        self.aws.client("iam").put_role_policy(
            RoleName=exports.ROLE,
            PolicyName=exports.CUT_POLICY,
            PolicyDocument=exports.compact(document),
        )

    def delete(self) -> None:
        """Somebody who may takes it away."""
        iam = self.aws.client("iam")
        try:
            iam.delete_role_policy(RoleName=exports.ROLE, PolicyName=exports.CUT_POLICY)
        except iam.exceptions.NoSuchEntityException:
            return

    def pass_time(self, minutes: float) -> None:
        """Let it be later for us and for AWS."""
        self.stage.pass_time(timedelta(minutes=minutes))
        ahead = self.stage.memory.time - datetime.now(UTC)
        self.aws.turn(ahead=ahead.total_seconds())


@contextmanager
def ground(aws: Aws, folder: Path, **how: Any) -> Iterator[Ground]:
    """A ground whose role refuses nothing when it begins and when it is left."""
    made = Ground(aws, folder, **how)
    made.delete()
    try:
        yield made
    finally:
        made.delete()


Grounds = Callable[..., Ground]
