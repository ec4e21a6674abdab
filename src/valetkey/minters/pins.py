"""Pins: the OpenBao policy that lets the role writer make catalogued roles, and nothing else.

One path per target, expanded scope and connection; its parameters are pinned to the exact text
that `role_body` sends. Tried on OpenBao 2.7.2, whose rules these are:

* Statements travel as one JSON text, not as a list: the ACL compares like with like, so a list
  never equals a pinned text and is refused.
* `max_ttl` is pinned to the scope's, written `900s`, or to its `max_life` where renewals may reach
  that; `default_ttl` is free, because it varies with every ask, and the engine cuts it to
  `max_ttl` when it mints.
* `renew_statements` is not named, so it cannot be given, and the engine's own text renews.
* The only capability is `create`: a role is written once, and a live role cannot be rewritten,
  not even with the same text. The minter must write each role exactly once.
* A parameter that is not named here is refused, and every named one is required.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta

from valetkey.core.catalogue import Catalogue, Target
from valetkey.core.statements import DatabaseRole, expansions, forgotten_body

POLICY_PREFIX = "valetkey-writer-"
PINNED_MINTER = "openbao-database"
_GRANTED = re.compile(r'GRANT\s+"([^"]+)"\s+TO|IN\s+ROLE\s+"([^"]+)"', re.IGNORECASE)

ReadPolicy = Callable[[str], str | None]
"""Gives the text of an OpenBao policy by name, None when there is none."""


def role_body(role: DatabaseRole, ttl: timedelta) -> dict[str, str]:
    """The body of `POST <mount>/roles/<mark>`: what the minter sends and the pins allow.

    Raises ValueError when `ttl` is not above zero or is longer than the scope's.
    """
    if not timedelta(0) < ttl <= role.max_ttl:
        raise ValueError("the TTL is outside the scope's")
    return {**_pinned(role), "default_ttl": _seconds(ttl)}


def policy_name(target: str) -> str:
    """The name under which the pins of one target are kept at OpenBao."""
    return POLICY_PREFIX + target


def openbao_policy(catalogue: Catalogue, targets: Iterable[str], installation: str) -> str:
    """The pins of the named targets as HCL, for an administrator to write at OpenBao.

    `installation` is the mark's first part, like `abcdefe1`. Targets of other minters have no
    pins and are passed over. Raises KeyError for a target that is not in the catalogue.
    """
    chosen = [catalogue.targets[name] for name in targets]
    pinned = [target for target in chosen if target.minter == PINNED_MINTER]
    blocks = [block for target in pinned for block in _blocks(target, installation)]
    return "\n".join(blocks)


def forgotten_policy(mount: str) -> str:
    """The part of the ender's policy with which it ends roles that OpenBao forgot, and only those.

    Such a role's statements are pinned to the text that drops `<mark>`; see `FORGOTTEN`.
    """
    pinned = {name: text for name, text in forgotten_body("").items() if name != "db_name"}
    allowed = [f'    "{name}" = [{json.dumps(value)}]' for name, value in pinned.items()]
    lines = [
        f'path "{mount}/roles/end-vk-*" {{',
        '  capabilities = ["create", "delete"]',
        f"  required_parameters = {json.dumps(list(pinned))}",
        "  allowed_parameters = {",
        *allowed,
        '    "db_name" = []',
        "  }",
        "}",
        f'path "{mount}/creds/end-vk-*" {{ capabilities = ["read"] }}',
        f'path "sys/leases/revoke-prefix/{mount}/creds/end-vk-*" {{',
        '  capabilities = ["update", "sudo"]',
        "}",
        "",
    ]
    return "\n".join(lines)


def renewal_policy(mount: str) -> str:
    """The part of the reader's policy with which it renews our leases, and only those.

    The lease stands in the path, and no body can name another.
    """
    lines = [
        f'path "sys/leases/renew/{mount}/creds/vk-*" {{',
        '  capabilities = ["update"]',
        '  required_parameters = ["increment"]',
        '  allowed_parameters = { "increment" = [] }',
        "}",
        "",
    ]
    return "\n".join(lines)


def pinned_targets(catalogue: Catalogue) -> tuple[str, ...]:
    """The names of the targets whose scopes are pinned, sorted."""
    found = (t.name for t in catalogue.targets.values() if t.minter == PINNED_MINTER)
    return tuple(sorted(found))


def expected_policies(catalogue: Catalogue, installation: str) -> dict[str, str]:
    """Policy name to HCL text, for every pinned target of the catalogue."""
    return {
        policy_name(name): openbao_policy(catalogue, (name,), installation)
        for name in pinned_targets(catalogue)
    }


def unpinned(catalogue: Catalogue, installation: str, read_policy: ReadPolicy) -> tuple[str, ...]:
    """The targets whose pins at OpenBao are not exactly those of this catalogue; empty is good.

    `read_policy` needs `read` on `sys/policies/acl/valetkey-writer-*` and is best called with
    another token than the writer's. A catalogue version is active only when this is empty.
    """
    return tuple(
        name
        for name in pinned_targets(catalogue)
        if not pins_match(
            openbao_policy(catalogue, (name,), installation), read_policy(policy_name(name))
        )
    )


def pins_match(expected: str, seen: str | None) -> bool:
    """True when the policy seen at OpenBao is the one expected, but for outer white space."""
    return seen is not None and seen.strip() == expected.strip()


def stray_policies(catalogue: Catalogue, held: Iterable[str]) -> tuple[str, ...]:
    """Policies of the writer token (`auth.policies` of its login) that are no pins of ours.

    Anything here widens what a taken-over broker could do, `default` and `root` included.
    """
    ours = {policy_name(name) for name in pinned_targets(catalogue)}
    return tuple(sorted(set(held) - ours))


def _pinned(role: DatabaseRole) -> dict[str, str]:
    (creation,), (revocation,) = role.creation, role.revocation
    return {
        "db_name": role.db_name,
        "creation_statements": creation,
        "revocation_statements": revocation,
        "max_ttl": _seconds(role.max_ttl),
    }


def _blocks(target: Target, installation: str) -> list[str]:
    return [
        _block(f"{target.mount}/roles/vk-{installation}-{role.digest}-*", f"{scope}", role)
        for scope, role in expansions(target)
    ]


def _block(path: str, title: str, role: DatabaseRole) -> str:
    pinned: Mapping[str, str] = _pinned(role)
    required = json.dumps([*pinned, "default_ttl"])
    allowed = [f'    "{name}" = [{json.dumps(value)}]' for name, value in pinned.items()]
    lines = [
        f"# {title} on {role.db_name}",
        f'path "{path}" {{',
        '  capabilities = ["create"]',
        f"  required_parameters = {required}",
        "  allowed_parameters = {",
        *allowed,
        '    "default_ttl" = []',
        "  }",
        "}",
        "",
    ]
    return "\n".join(lines)


def _seconds(duration: timedelta) -> str:
    return f"{int(duration.total_seconds())}s"


def reading_groups(target: Target) -> set[str]:
    """The group roles that scopes which do not mutate are made of."""
    groups: set[str] = set()
    for scope, role in expansions(target):
        if not target.scopes[scope.name].mutates:
            for found in _GRANTED.finditer(role.creation[0]):
                groups.add(found[1] or found[2])
    return groups
