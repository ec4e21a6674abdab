"""Targets of AWS in the catalogue: what loads, and what is refused with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from valetkey.core.scope import Scope
from valetkey.policy.catalogue import load_catalogue
from valetkey.policy.checks import check_catalogue

EXPORTS = """\
target: exports
minter: aws-sts
environment: production
owner: data@example.com
role_arn: arn:aws:iam::123456789012:role/path/valetkey-exports
region: eu-central-1
witness: {bucket: orders-exports, key: valetkey/witness}
address: {bucket: orders-exports, endpoint_url: "http://127.0.0.1:5000"}
scopes:
  read:
    mutates: false
    parameters:
      prefix: {kind: path_prefix}
    max_ttl: 15m
    session_policy:
      - {Effect: Allow, Action: ["s3:GetObject"], Resource: ["arn:aws:s3:::exports/${prefix}*"]}
      - {Effect: Deny, Action: ["s3:GetObjectAcl"], Resource: ["*"]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The file of a catalogue with one target."""
    path = tmp_path / "exports.yaml"
    path.write_text(EXPORTS)
    return path


def test_a_target_of_aws_loads(file: Path) -> None:
    """With room for cuts, a session of an hour, and its statements as data."""
    catalogue = load_catalogue(file.parent)
    target = catalogue.targets["exports"]
    assert target.role_arn.endswith("valetkey-exports")
    assert (target.slots, target.max_session.total_seconds()) == (150, 3600)
    assert target.witness == {"bucket": "orders-exports", "key": "valetkey/witness"}
    assert target.address["bucket"] == "orders-exports"
    found = catalogue.find(Scope.parse("exports:read{prefix=eu/}"))
    assert '"Effect":"Allow"' in found.definition.session_policy[0]
    digest = catalogue.digest
    file.write_text(EXPORTS.replace("GetObjectAcl", "GetObjectTagging"))
    assert load_catalogue(file.parent).digest != digest


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("role_arn: arn:aws:iam::123456789012:role/", "role_arn: arn:aws:iam::1:role/", 5, "role_arn"),
        ("role/path/", "role/aws-reserved/sso/", 5, "nobody can write a policy"),
        ("region: eu-central-1", "region: here", 6, "region"),
        ("region: eu-central-1", "region: eu-central-1\nslots: 300", 7, "slots must be"),
        ("key: valetkey/witness", "key: ../witness", 7, "key is not well formed"),
        ("max_ttl: 15m", "max_ttl: 2h", 14, "over the max_session"),
        ('"s3:GetObject"', '"s3:PutObject"', 16, "only actions that read"),
        ("${prefix}*", "${aws:username}/${prefix}*", 16, "policy variable"),
        ("{Effect: Deny,", "{Effect: Deny, Sid: 7,", 17, "Sid must be a text"),
        ("    session_policy:", "    policy:", 11, "must allow something"),
        ("    session_policy:", "    mount: x\n    session_policy:", 15, "unknown key 'mount'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(
    file: Path, old: str, new: str, line: int, said: str
) -> None:
    """And nothing is loaded."""
    assert old in EXPORTS
    file.write_text(EXPORTS.replace(old, new, 1))
    found = check_catalogue(file.parent)
    assert any(said in x.message and x.line == line for x in found), found


def test_a_role_belongs_to_one_target(file: Path) -> None:
    """Two would write over each other's list of what is cut."""
    other = file.with_name("other.yaml")
    other.write_text(EXPORTS.replace("target: exports", "target: other"))
    found = check_catalogue(file.parent)
    assert any("role_arn" in x.message and "is also in" in x.message for x in found)
