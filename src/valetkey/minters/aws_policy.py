"""The one inline policy of ours at a role: whom it refuses, under which generation.

IAM has no compare-and-set, so the document itself carries what it is: the installation and the
generation stand in the Sid, and whoever reads it knows whose it is and how old.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from valetkey.core.cut import Cut
from valetkey.core.errors import MinterRefused
from valetkey.core.session_policies import compact, instant

NAME = "valetkey-cut"
TAG = "valetkey-lease"
_SID = re.compile(
    r"vk(?P<installation>[0-9a-v]{6}e[0-9]{1,4})Generation(?P<generation>[0-9]{1,18})"
)


@dataclass(frozen=True)
class Written:
    """What stands at a role: its document, and what that says of itself."""

    text: str
    installation: str
    generation: int


def cut_document(installation: str, cut: Cut) -> Mapping[str, Any]:
    """Deny everything to each of these leases' sessions, and to all that are older.

    Every generation also refuses its own witness, a session of ours that tries whether it holds.
    """
    sid = f"vk{installation}Generation{cut.generation}"
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    ids = [*map(tag_value, cut.lease_ids), witness_value(cut.generation)]
    statements = [
        {"Sid": sid, **deny, "Condition": {"StringEquals": {f"aws:PrincipalTag/{TAG}": ids}}}
    ]
    if cut.made_before is not None:
        before = {"DateLessThan": {"aws:TokenIssueTime": instant(cut.made_before)}}
        statements.append({"Sid": f"{sid}Older", **deny, "Condition": before})
    return {"Version": "2012-10-17", "Statement": statements}


def written(document: Mapping[str, Any]) -> Written:
    """What was read back. Raises MinterRefused when it is not one of ours."""
    statements = document.get("Statement") or [{}]
    first = statements[0] if isinstance(statements, list) else statements
    found = _SID.fullmatch(str(first.get("Sid", "")))
    if found is None:
        return Written(compact(document), "", -1)
    return Written(compact(document), found["installation"], int(found["generation"]))


def refuse_foreign(there: Written | None, installation: str) -> None:
    """Raise MinterRefused for a document of another installation or epoch: it is not ours."""
    if there is not None and there.installation not in ("", installation):
        raise MinterRefused(f"the policy {NAME} of the role is another installation's or epoch's")


def tag_value(lease_id: str) -> str:
    """A lease's session tag: its id without what every id begins with."""
    return lease_id.removeprefix("lease_")


def witness_value(generation: int) -> str:
    """The tag of the session that tries whether this generation holds."""
    return f"witness-{generation}"
