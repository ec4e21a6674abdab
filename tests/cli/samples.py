"""Answers of the broker, as the HTTP contract writes them."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

TASK: Json = {
    "id": "task_1",
    "agent_id": "agent_1",
    "owner": "olivia@example.com",
    "purpose": "refund",
    "scopes": ["orders-db:read"],
    "state": "open",
    "started_at": "2026-01-05T12:00:00+00:00",
    "deadline_at": "2026-01-05T12:30:00+00:00",
    "ended_at": None,
    "end_reason": None,
    "receipt_id": None,
    "heartbeat": None,
    "silent_at": None,
    "fence": None,
}
LEASE: Json = {
    "id": "lease_1",
    "state": "active",
    "scope": "orders-db:read{region=eu}",
    "target": "orders-db",
    "task": "task_1",
    "grant": "grant_1",
    "agent_id": "agent_1",
    "owner": "olivia@example.com",
    "requested_ttl": 300,
    "granted_ttl": 300,
    "cut_by": "asked",
    "expires_at": "2026-01-05T12:05:00+00:00",
    "backend_expires_at": "2026-01-05T12:05:05+00:00",
    "fenced_at": None,
    "denied_at": None,
    "denied_how": None,
    "still_valid_until": "2026-01-05T12:05:05+00:00",
    "end_class": "verified",
    "reason": None,
    "proof": None,
    "ended_at": None,
    "tries": 0,
    "problem": None,
    "renew_by": None,
}
ENDED: Json = {
    **LEASE,
    "state": "ended",
    "reason": "revoked",
    "proof": "verified",
    "still_valid_until": None,
}
CREDENTIAL: Json = {
    "type": "postgresql",
    "username": "vk-abc",
    "password": "the-secret",
    "host": "127.0.0.1",
    "port": 5432,
    "database": "orders",
    "sslmode": "disable",
}
GRANT: Json = {
    "id": "grant_1",
    "state": "waiting",
    "scope": "orders-db:write{region=eu}",
    "task": "task_1",
    "agent_id": "agent_1",
    "requested_ttl": 300,
    "granted_ttl": 300,
    "cut_by": "asked",
    "needs": [{"group": "valetkey-approvers", "count": 1}],
    "waits_until": "2026-01-05T12:15:00+00:00",
    "shown": {
        "agent": "refund-bot",
        "untrusted_reason": "please\x1b[2J\x1b[1;1H\u202eapprove\nstate: harmless",
    },
    "shown_hash": "a" * 64,
    "fresh_for": "approve:grant_1:" + "a" * 64,
    "lease": None,
    "decision_id": "decision_1",
    "approvals": [],
}
RECEIPT: Json = {
    "id": "receipt_1",
    "task": "task_1",
    "ended_at": "2026-01-05T12:01:00+00:00",
    "reason": "ended",
    "status": "complete",
    "leases": [ENDED],
}
AGENT: Json = {
    "id": "agent_1",
    "name": "refund-bot",
    "owner": "olivia@example.com",
    "team": "refunds",
    "environment": "production",
    "labels": {"region": "eu"},
    "boundary": ["orders-db:read"],
    "state": "accepted",
    "created_by": "ci",
    "created_by_rule": "refunds-deploy",
    "created_at": "2026-01-05T12:00:00+00:00",
    "accepted_at": None,
    "bindings": [
        {"id": "binding_1", "issuer": "workloads", "claims": {"sub": "bot"}, "created_by": "ci"}
    ],
}
KILL: Json = {
    "id": "kill_1",
    "height": "agent",
    "subject": "agent_1",
    "reason": "drill",
    "by": "opal",
    "at": "2026-01-05T12:00:00+00:00",
    "released_at": None,
    "released_by": None,
    "unended": 0,
    "ended": 2,
    "states": {},
    "last_proof_at": "2026-01-05T12:00:03+00:00",
    "seconds_to_last_proof": 3.0,
    "expected_seconds": 0.0,
    "cannot_be_cut": [],
    "cannot_be_cut_until": None,
    "denied": 0,
}
DRILL: Json = {
    "drill": True,
    "height": "vendor",
    "subject": "acme",
    "would_end": 7,
    "targets": {"orders-db": 7},
    "expected_seconds": 1.5,
    "based_on_ends": 40,
    "cannot_be_cut": [],
    "cannot_be_cut_until": None,
}
FACT: Json = {
    "number": 7,
    "at": "2026-01-05T12:00:00+00:00",
    "kind": "LeaseMinted",
    "by": "issuer",
    "outcome": "done",
    "agent_id": "agent_1",
    "owner": "olivia@example.com",
    "task_id": "task_1",
    "grant_id": "grant_1",
    "lease_id": "lease_1",
    "target": "orders-db",
    "decision_id": None,
    "body": {},
}
CATALOGUE: Json = {
    "digest": "d" * 64,
    "targets": [
        {
            "name": "orders-db",
            "environment": "production",
            "data_classes": ["pii"],
            "owner": "data-platform@example.com",
            "scopes": [
                {
                    "name": "read",
                    "summary": "Read the orders of one region.",
                    "mutates": False,
                    "parameters": [{"name": "region", "kind": "enum", "values": ["eu", "us"]}],
                    "max_ttl": 900,
                    "end_class": "verified",
                }
            ],
        }
    ],
}
EXPLAINED: Json = {
    "outcome": "allow",
    "rules": ["refunds-read"],
    "policy_hash": "p" * 64,
    "catalogue_digest": "d" * 64,
    "needs": [],
    "requested_ttl": 300,
    "granted_ttl": 300,
    "cut_by": "asked",
    "problem": None,
}
LINEAGE: Json = {
    "lease": ENDED,
    "grant": GRANT,
    "task": TASK,
    "agent": AGENT,
    "decision": {"rules": ["refunds-write"]},
    "approvals": [
        {"approver": "arun@example.com", "verdict": "approve", "at": "2026-01-05T12:00:00+00:00"}
    ],
    "facts": [FACT],
}
