"""The chart refuses values that are unknown, wrong, or would weaken what it renders."""

from __future__ import annotations

import copy
from typing import Any

import helm_python
import pytest

from tests.deploy.conftest import CHART, VALUES, rendered, values_of

OPEN_RULE = {"to": [], "ports": [5432]}
REFUSED: dict[str, tuple[str, Any]] = {
    "an unknown key": ("nothing", 1),
    "an unknown key inside": ("image.name", "x"),
    "a switch for the network policy": ("networkPolicy.enabled", False),
    "a security context of one's own": ("securityContext", {"privileged": True}),
    "environment variables": ("env", [{"name": "A", "value": "b"}]),
    "no image": ("image.repository", ""),
    "a digest that is none": ("image.digest", "latest"),
    "an unknown pull policy": ("image.pullPolicy", "Sometimes"),
    "root": ("runAsUser", 0),
    "no replica": ("replicaCount", 0),
    "a number as text": ("replicaCount", "2"),
    "no database secret": ("database.secretName", ""),
    "no migration secret": ("migration.secretName", ""),
    "a database URL in the values": ("config.database", {"url": "postgresql://a:b@c/d"}),
    "the owner's URL file in what serve reads": ("config.database", {"migration_url_file": "/x"}),
    "an external URL without TLS": ("config.external_url", "http://valetkey.example.com"),
    "a signing key in the configuration": ("config.signing_key_file", "-----BEGIN"),
    "signing keys where none are mounted": ("config.signing_key_folder", "/etc/keys"),
    "another port than the policy opens": ("config.server", {"port": 9000}),
    "a mint limit the grace period does not know": ("config.times", {"mint_limit": 600}),
    "no way to Postgres": ("networkPolicy.egress.postgres", []),
    "an egress rule to everywhere": ("networkPolicy.egress.openbao", [OPEN_RULE]),
    "a peer that names nobody": ("networkPolicy.ingress.from", [{}]),
    "a port beyond the last": ("service.port", 70000),
    "an unknown service type": ("service.type", "ExternalName"),
    "a platform token that lives too long": ("openbao.tokenExpirationSeconds", 86400),
    "rules from two places": ("config.rules", {"source": "both"}),
    "a catalogue file with a path": ("catalogue", {"../x.yaml": ""}),
    "a policy file that is not Cedar": ("policies", {"refunds.rego": ""}),
    "a secret file with a path": (
        "secretFiles",
        [{"name": "a", "secretName": "a", "items": [{"key": "k", "path": "../k"}]}],
    ),
    "resources without a limit": ("resources", {"limits": None}),
}
NOT_TOGETHER: dict[str, tuple[str, Any, str]] = {
    "one secret for both logins": ("migration.secretName", "valetkey-database", "owner's login"),
    "the owner's login among the files": (
        "secretFiles",
        [{"name": "extra", "secretName": "valetkey-migration"}],
        "owner's login",
    ),
    "a second volume for the database": (
        "secretFiles",
        [{"name": "database", "secretName": "other"}],
        "is taken",
    ),
    "less grace than a mint takes": ("mintLimitSeconds", 45, "terminationGracePeriodSeconds"),
}


def with_value(path: str, value: object) -> dict[str, Any]:
    """The minimal values with one changed."""
    values = copy.deepcopy(values_of("minimal"))
    *above, last = path.split(".")
    inner = values
    for key in above:
        inner = inner.setdefault(key, {})
    inner[last] = value
    return values


@pytest.mark.parametrize("name", VALUES)
def test_a_shipped_values_file_fits_the_schema(chart: helm_python.Chart, name: str) -> None:
    """What we ship as an example is accepted, and helm lint finds no fault."""
    chart.validate_schema(values_of(name))


def test_the_defaults_alone_are_refused(chart: helm_python.Chart) -> None:
    """Image, secrets and the way to Postgres are decisions that nobody else can make."""
    with pytest.raises(helm_python.HelmValuesError) as refused:
        chart.validate_schema({})
    for required in (
        "/image/repository",
        "/config",
        "/database/secretName",
        "/migration/secretName",
    ):
        assert required in str(refused.value)
    assert "/networkPolicy/egress/postgres" in str(refused.value)


@pytest.mark.parametrize("what", REFUSED)
def test_the_schema_refuses(chart: helm_python.Chart, what: str) -> None:
    """A value that is unknown or out of its type is refused before anything is rendered."""
    path, value = REFUSED[what]
    with pytest.raises(helm_python.HelmValuesError):
        chart.validate_schema(with_value(path, value))


@pytest.mark.parametrize("what", NOT_TOGETHER)
def test_values_that_do_not_go_together_are_refused(chart: helm_python.Chart, what: str) -> None:
    """Each alone is fine; together they would break a promise, so rendering fails and says why."""
    path, value, why = NOT_TOGETHER[what]
    values = with_value(path, value)
    chart.validate_schema(values)
    with pytest.raises(helm_python.HelmRenderError, match=why):
        rendered(chart, values)


def test_every_object_in_the_schema_refuses_unknown_keys(chart: helm_python.Chart) -> None:
    """Only what mirrors free-form Kubernetes or our own configuration is left open."""
    schema = chart.schema
    assert isinstance(schema, dict)
    assert schema["additionalProperties"] is False
    loose = [
        name
        for name, part in schema["properties"].items()
        if part.get("type") == "object" and part.get("additionalProperties", True) is True
    ]
    assert sorted(loose) == ["config", "global"]
    assert schema["properties"].keys() - {"global"} == chart.values.keys()


def test_changed_rules_roll_the_replicas(chart: helm_python.Chart) -> None:
    """The pod template carries a checksum of the configuration, so a change starts new pods."""

    def checksum(policy: str) -> object:
        objects = rendered(chart, with_value("policies", {"a.cedar": policy}))
        template = objects["Deployment", "serve"]["spec"]["template"]
        return template["metadata"]["annotations"]["checksum/config"]

    assert checksum("permit(principal, action, resource);") != checksum("")


def test_file_texts_are_carried_exactly(chart: helm_python.Chart) -> None:
    """Leading blanks, quotes and template marks in a policy survive rendering."""
    text = "  // {{ .Values.image }} \"quoted\" 'too'\n\tpermit (principal, action, resource);\n"
    objects = rendered(chart, with_value("policies", {"a.cedar": text}))
    assert objects["ConfigMap", "serve"]["data"]["policies.a.cedar"] == text


def test_helm_lint_is_content() -> None:
    """With its required values the chart has no warning and no error."""
    report = helm_python.lint(str(CHART), values_of("minimal"))
    assert [m for m in report["messages"] if m["severity"] > 1] == [], report


def test_the_notes_count_a_replicas_connections(chart: helm_python.Chart) -> None:
    """Both pools and what they may take beyond, of the settings given or left out."""
    values = values_of(VALUES[0])
    database = {"pool": 30, "kept": 10}
    with_both = {**values, "config": {**values["config"], "database": database}}
    for given, many in ((values, 36), (with_both, 48)):
        rendered_text = chart.render(given, name="demo", namespace="prod")
        notes = next(text for name, text in rendered_text.items() if name.endswith("NOTES.txt"))
        assert f"may hold {many} connections" in notes
