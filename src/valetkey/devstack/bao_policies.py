"""The ACL policies of the Valetkey server's OpenBao tokens, all but the writer's.

The writer's policy comes from the catalogue (it pins every parameter of every scope); the
placeholder here, for a stack without a catalogue, pins only the name. No token may do what
another is for. All log in without the `default` policy, so looking up and renewing themselves is
granted here.
"""

from __future__ import annotations

from valetkey.minters.pins import forgotten_policy, renewal_policy

_SELF = """
path "auth/token/lookup-self" { capabilities = ["read"] }
path "auth/token/renew-self" { capabilities = ["update"] }
path "auth/token/revoke-self" { capabilities = ["update"] }
"""

PLACEHOLDER_WRITER = """
path "database-orders/roles/vk-*" { capabilities = ["create", "update"] }
"""

READER = (
    """
path "database-orders/creds/vk-*" { capabilities = ["read"] }
"""
    + renewal_policy("database-orders")
    + _SELF
)

ENDER = (
    """
path "database-orders/roles" { capabilities = ["list"] }
path "database-orders/roles/" { capabilities = ["list"] }
path "database-orders/roles/vk-*" { capabilities = ["read", "delete", "list"] }
path "sys/leases/revoke-prefix/database-orders/creds/vk-*" { capabilities = ["update", "sudo"] }
path "sys/leases/lookup/database-orders/creds/*" { capabilities = ["list", "sudo"] }
path "sys/leases/lookup" { capabilities = ["update"] }
path "sys/policies/acl/valetkey-writer-*" { capabilities = ["read"] }
path "valetkey/data/claims/*" { capabilities = ["create", "read"] }
path "valetkey/data/tallies/*" { capabilities = ["create", "read", "update"] }
path "valetkey/metadata/tallies" { capabilities = ["list"] }
path "valetkey/metadata/tallies/" { capabilities = ["list"] }
"""
    + forgotten_policy("database-orders")
    + _SELF
)

INSPECTOR = (
    """
path "database-orders/static-creds/orders-inspector" { capabilities = ["read"] }
"""
    + _SELF
)
