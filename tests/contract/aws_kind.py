"""The minter for roles of AWS, over the emulator and a record in memory that has the real time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from botocore.exceptions import ClientError

from tests.contract.examples import Examples
from tests.contract.minters import INSTALLATION, SAMPLE, Kind
from valetkey.core.catalogue import Catalogue
from valetkey.core.ids import Mark
from valetkey.core.lease import Handle
from valetkey.core.scope import Scope
from valetkey.devstack.aws import exports
from valetkey.devstack.aws.service import Aws, client
from valetkey.minters.aws_clients import AwsClients, Endpoints, Identity
from valetkey.minters.aws_cut import Cutter, Known
from valetkey.minters.aws_roles import Roles
from valetkey.minters.aws_sts import AwsSts
from valetkey.minters.aws_witness import Witnesses
from valetkey.policy.catalogue import load_catalogue
from valetkey.ports import Minted, Minter
from valetkey.testing.memory_cuts import MemoryCuts
from valetkey.testing.memory_store import MemoryStore


class RealTime(MemoryStore):
    """A store in memory whose clock is the real one."""

    @property
    def time(self) -> datetime:  # type: ignore[override]
        return datetime.now(UTC)

    @time.setter
    def time(self, at: datetime) -> None:
        return


@contextmanager
def aws_kind(aws: Aws) -> Iterator[Kind]:
    """On the emulator's bucket; the role refuses nothing before and after."""
    catalogue = load_catalogue(SAMPLE)
    target = catalogue.targets["orders-exports"]
    here = replace(target, address={**target.address, "endpoint_url": aws.address})
    known = replace(catalogue, targets={target.name: here})
    store = RealTime()
    book = MemoryCuts(store)

    def ending(handle: Handle) -> None:
        """Its end is asked for from the first: a role refuses only what is written down so."""
        mark = Mark.read(handle.name)
        assert mark is not None
        some = Examples(store)
        lease = some.due(1, id=mark.lease_id, handle=handle)
        with store.transaction() as tx:
            tx.add_lease(replace(lease, backend_expires_at=some.now + timedelta(hours=1)))

    def works(minted: Minted) -> bool:
        told = minted.secret.reveal()
        names = ("access_key_id", "secret_access_key", "session_token")
        keys = tuple(str(told[name]) for name in names)
        try:
            client(aws.address, "s3", keys).get_object(Bucket=exports.BUCKET, Key="eu/2026-01.csv")
        except ClientError:
            return False
        return True

    def made(shown: Catalogue) -> Minter:
        return _minter(aws, store, book, shown)

    wanted = known.find(Scope.parse("orders-exports:read{prefix=eu/}"))
    _clear(aws)
    yield Kind(
        made(known),
        wanted,
        works,
        lambda: made(Catalogue({}, "")),
        cuts=False,
        looks=False,
        denies=True,
        written=ending,
    )
    _clear(aws)


def _minter(aws: Aws, store: MemoryStore, book: MemoryCuts, catalogue: Catalogue) -> AwsSts:
    identity = Identity(aws.credentials_file, external_id_file=aws.external_id_file)
    clients = AwsClients(identity, Endpoints(aws.address, aws.address))
    known = Known(book, store.state.leases.get, store.now, lambda seconds: None)
    cutter = Cutter(Roles(clients), Witnesses(clients, store.now), known, INSTALLATION)
    return AwsSts(clients, cutter, lambda: catalogue, store.now)


def _clear(aws: Aws) -> None:
    iam = aws.client("iam")
    try:
        iam.delete_role_policy(RoleName=exports.ROLE, PolicyName=exports.CUT_POLICY)
    except iam.exceptions.NoSuchEntityException:
        return
