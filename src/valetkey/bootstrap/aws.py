"""The minter for roles of AWS, from settings: our own identity, and our record of what is cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from valetkey.core.catalogue import Catalogue
from valetkey.core.ids import LeaseId
from valetkey.core.lease import Lease
from valetkey.settings import Settings
from valetkey.store.sql_store import SqlStore

if TYPE_CHECKING:
    from valetkey.minters.aws_sts import AwsSts


def aws_minter(
    settings: Settings, store: SqlStore, catalogue: Callable[[], Catalogue]
) -> AwsSts | None:
    """None without `aws`; then botocore, which takes half a second, is not even read."""
    told = settings.aws
    if told is None:
        return None
    from valetkey.minters.aws_clients import AwsClients, Endpoints, Identity
    from valetkey.minters.aws_cut import Cutter, Known
    from valetkey.minters.aws_roles import Roles
    from valetkey.minters.aws_sts import AwsSts
    from valetkey.minters.aws_witness import Witnesses

    identity = Identity(
        told.access_key_file,
        told.role_arn or "",
        told.web_identity_token_file,
        told.external_id_file,
    )
    waits = (told.connect_timeout.total_seconds(), told.read_timeout.total_seconds())
    clients = AwsClients(identity, Endpoints(told.sts_endpoint, told.iam_endpoint, *waits))
    known = Known(store, lease_in(store), store.now, time.sleep)
    witnesses = Witnesses(clients, store.now)
    cutter = Cutter(Roles(clients), witnesses, known, store.installation())
    return AwsSts(clients, cutter, catalogue, store.now)


def without_aws(settings: Settings, catalogue: Catalogue) -> list[tuple[str, str]]:
    """Targets of AWS for which nobody is configured."""
    if settings.aws is not None:
        return []
    why = "it is at AWS, and the settings have no section aws"
    return [(x.name, why) for x in catalogue.targets.values() if x.minter == "aws-sts"]


def lease_in(store: SqlStore) -> Callable[[LeaseId], Lease | None]:
    """A look at one lease as it is recorded."""

    def look(lease_id: LeaseId) -> Lease | None:
        with store.transaction() as tx:
            return tx.lease(lease_id)

    return look
