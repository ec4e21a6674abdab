"""What the chart renders is valid Kubernetes and holds the promises of SECURITY.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml

from tests.deploy.conftest import CHART, VALUES, Objects, rendered, values_of
from valetkey.bootstrap import load_settings

KINDS = {
    ("Deployment", "serve"),
    ("Service", "serve"),
    ("ServiceAccount", "serve"),
    ("ConfigMap", "serve"),
    ("NetworkPolicy", "serve"),
    ("PodDisruptionBudget", "serve"),
    ("Job", "migrate"),
    ("ServiceAccount", "migrate"),
    ("ConfigMap", "migrate"),
    ("NetworkPolicy", "migrate"),
}


def pods(objects: Objects) -> Iterator[dict[str, Any]]:
    """The pod specs of everything that runs."""
    for document in objects.values():
        if document["kind"] in {"Deployment", "Job"}:
            yield document["spec"]["template"]["spec"]


def containers(objects: Objects) -> Iterator[dict[str, Any]]:
    """Every container of every pod."""
    for pod in pods(objects):
        yield from pod.get("initContainers", []) + pod["containers"]


def serve(objects: Objects) -> dict[str, Any]:
    """The pod spec of `valetkey serve`."""
    found: dict[str, Any] = objects["Deployment", "serve"]["spec"]["template"]["spec"]
    return found


def migrate(objects: Objects) -> dict[str, Any]:
    """The pod spec of `valetkey migrate`."""
    found: dict[str, Any] = objects["Job", "migrate"]["spec"]["template"]["spec"]
    return found


def test_there_are_at_least_four_values_files() -> None:
    """Everything below is looked at for the defaults and three other installations."""
    assert {"minimal", "production", "single"} < set(VALUES) and len(VALUES) >= 4


def test_exactly_the_promised_objects_are_rendered(objects: Objects) -> None:
    """No object is missing, and none is there that nobody expects."""
    assert objects.keys() == KINDS


def test_every_object_is_valid_for_kubernetes(objects: Objects) -> None:
    """Each object passes the strict schema of Kubernetes 1.34."""
    for document in objects.values():
        kubernetes_validate.validate(document, "1.34", strict=True)


def test_every_pod_runs_as_nobody_special(objects: Objects) -> None:
    """No root user, the default seccomp profile, no host namespaces, no automatic token."""
    for pod in pods(objects):
        security = pod["securityContext"]
        assert security["runAsNonRoot"] is True and security["runAsUser"] >= 1000
        assert isinstance(security["runAsUser"], int)
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not [volume for volume in pod["volumes"] if "hostPath" in volume]


def test_every_container_forbids_itself_all_it_does_not_need(objects: Objects) -> None:
    """Read-only root, all capabilities dropped, no escalation, limited memory."""
    for container in containers(objects):
        security = container["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["privileged"] is False
        assert security["allowPrivilegeEscalation"] is False
        assert security["readOnlyRootFilesystem"] is True
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["limits"]["memory"]


def test_only_the_probe_that_gates_traffic_looks_deep(objects: Objects) -> None:
    """Readiness asks /readyz; start and liveness ask /healthz, so that no outage restarts us."""
    (container,) = serve(objects)["containers"]
    path = {
        kind: container[f"{kind}Probe"]["httpGet"]["path"]
        for kind in ("startup", "liveness", "readiness")
    }
    assert path == {"startup": "/healthz", "liveness": "/healthz", "readiness": "/readyz"}


def test_the_commands_are_those_of_the_reference(objects: Objects) -> None:
    """Each pod runs one command of ours, with the configuration file that the chart mounts."""
    for pod, verb in ((serve(objects), "serve"), (migrate(objects), "migrate")):
        (container,) = pod["containers"]
        assert container["command"] == ["valetkey", verb, "--config", "/etc/valetkey/valetkey.yaml"]
        assert {"/etc/valetkey", "/tmp"} < {
            mount["mountPath"] for mount in container["volumeMounts"]
        }


def test_the_migration_runs_before_anything_of_the_release(objects: Objects) -> None:
    """The Job is a hook before install and upgrade, after what it needs, before the Deployment."""
    weights = {}
    for (kind, part), document in objects.items():
        notes = document["metadata"].get("annotations", {})
        assert (part == "migrate") == ("helm.sh/hook" in notes)
        if part == "migrate":
            assert notes["helm.sh/hook"] == "pre-install,pre-upgrade"
            weights[kind] = int(notes["helm.sh/hook-weight"])
    assert all(weight < weights["Job"] < 0 for kind, weight in weights.items() if kind != "Job")


def test_the_migration_needs_nothing_of_the_release(objects: Objects) -> None:
    """A hook runs when the release's own objects do not exist yet, so it brings its own."""
    own = objects["Job", "migrate"]["metadata"]["name"]
    pod = migrate(objects)
    assert (
        pod["serviceAccountName"] == own == objects["ServiceAccount", "migrate"]["metadata"]["name"]
    )
    maps = [volume["configMap"]["name"] for volume in pod["volumes"] if "configMap" in volume]
    assert maps == [own] == [objects["ConfigMap", "migrate"]["metadata"]["name"]]


def test_serve_never_sees_the_schema_owners_login(objects: Objects) -> None:
    """The two pods mount different secrets, and only the Job names the migration URL."""

    def mounted(pod: dict[str, Any]) -> set[str]:
        return {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}

    assert len(mounted(migrate(objects))) == 1
    assert not mounted(migrate(objects)) & mounted(serve(objects))
    assert "migrat" not in yaml.safe_dump(serve(objects))
    assert "migrat" not in objects["ConfigMap", "serve"]["data"]["valetkey.yaml"]
    assert "openbao" not in yaml.safe_dump(migrate(objects)["volumes"])


def test_no_secret_is_rendered_or_passed_by_environment(objects: Objects) -> None:
    """No Secret object and no environment; what is mounted, secrets too, is read-only."""
    assert not [kind for kind, _ in objects if kind == "Secret"]
    for container in containers(objects):
        assert not {"env", "envFrom"} & container.keys()
        mounts = [m for m in container["volumeMounts"] if m["mountPath"] != "/tmp"]
        assert all(mount["readOnly"] is True for mount in mounts)
    for pod in pods(objects):
        modes = [volume["secret"]["defaultMode"] for volume in pod["volumes"] if "secret" in volume]
        assert set(modes) == {0o440}


def test_serve_logs_in_to_openbao_with_a_short_token_made_for_it(objects: Objects) -> None:
    """The only platform token in the pod is projected, short, and for one audience."""
    (source,) = [
        source["serviceAccountToken"]
        for volume in serve(objects)["volumes"]
        for source in volume.get("projected", {}).get("sources", [])
    ]
    assert source["path"] == "token" and source["audience"]
    assert 600 <= source["expirationSeconds"] <= 3600


def test_a_stopping_replica_has_time_for_the_longest_mint(objects: Objects) -> None:
    """The grace period is longer than the default mint limit and the time before stopping."""
    pod = serve(objects)
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > 2 * 30 + pause


def test_pods_are_selected_by_their_own_part_only(objects: Objects) -> None:
    """Service, budget, spread and policies select `serve` or `migrate`, never both."""
    chosen = objects["Service", "serve"]["spec"]["selector"]
    assert chosen["app.kubernetes.io/component"] == "serve"
    spec = objects["Deployment", "serve"]["spec"]
    assert spec["selector"]["matchLabels"] == chosen
    assert chosen.items() <= spec["template"]["metadata"]["labels"].items()
    assert objects["PodDisruptionBudget", "serve"]["spec"]["selector"]["matchLabels"] == chosen
    for part in ("serve", "migrate"):
        policy = objects["NetworkPolicy", part]["spec"]
        assert policy["podSelector"]["matchLabels"] == chosen | {
            "app.kubernetes.io/component": part
        }


def test_the_network_is_closed_but_for_what_is_named(objects: Objects) -> None:
    """Both directions are governed; no rule is open by an empty list of peers or ports."""
    for part in ("serve", "migrate"):
        policy = objects["NetworkPolicy", part]["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
        assert all(rule["to"] and rule["ports"] for rule in policy["egress"])
    assert objects["NetworkPolicy", "migrate"]["spec"]["ingress"] == []


def test_the_default_lets_nobody_in(chart: helm_python.Chart) -> None:
    """An empty list of ingress peers makes no rule, where an empty `from` would admit everybody."""
    assert rendered(chart, values_of("minimal"))["NetworkPolicy", "serve"]["spec"]["ingress"] == []


def test_ingress_is_to_the_one_port(production: Objects) -> None:
    """The configured peers reach 8210 and nothing else."""
    (rule,) = production["NetworkPolicy", "serve"]["spec"]["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8210}] and len(rule["from"]) == 2


def test_the_migration_reaches_dns_and_postgres_only(production: Objects) -> None:
    """It has the strongest login to our database, so it may go nowhere else."""
    ports = [
        port["port"]
        for rule in production["NetworkPolicy", "migrate"]["spec"]["egress"]
        for port in rule["ports"]
    ]
    assert ports == [53, 53, 5432]
    serving = [
        port["port"]
        for rule in production["NetworkPolicy", "serve"]["spec"]["egress"]
        for port in rule["ports"]
    ]
    assert serving == [53, 53, 5432, 8200, 443, 5432]


def test_every_value_is_explained() -> None:
    """Each line of values.yaml that sets a value of ours stands under a comment."""
    above = ""
    for line in (CHART / "values.yaml").read_text().splitlines():
        key = re.match(r" {0,4}([A-Za-z]+): *\S", line)
        if key and key[1] not in {"requests", "limits", "whenUnsatisfiable"}:
            assert above.strip().startswith("#"), line
        above = line


def test_the_files_arrive_where_serve_reads_them(production: Objects) -> None:
    """Catalogue and policies are files beside valetkey.yaml, each with its own text."""
    data = production["ConfigMap", "serve"]["data"]
    (volume,) = [v for v in serve(production)["volumes"] if v["name"] == "config"]
    at = {item["path"]: data[item["key"]] for item in volume["configMap"]["items"]}
    assert at.keys() == {"valetkey.yaml", "catalogue/orders-db.yaml", "policies/refunds.cedar"}
    assert at["catalogue/orders-db.yaml"].startswith("target: orders-db\n")
    assert at["policies/refunds.cedar"].startswith('@id("refunds-read")\n')


def test_production_is_rendered_as_it_was_reviewed(production: Objects) -> None:
    """A short snapshot: what a reviewer would look at first."""
    deployment = production["Deployment", "serve"]["spec"]
    pod = deployment["template"]["spec"]
    assert deployment["replicas"] == 3
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert pod["containers"][0]["image"].endswith("@sha256:" + "0123456789abcdef" * 4)
    assert pod["imagePullSecrets"] == [{"name": "example-pull"}]
    assert pod["terminationGracePeriodSeconds"] == 120
    assert [s["whenUnsatisfiable"] for s in pod["topologySpreadConstraints"]] == ["DoNotSchedule"]
    assert [mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]] == [
        "/etc/valetkey",
        "/var/run/valetkey/openbao",
        "/var/run/valetkey/secrets/database",
        "/var/run/valetkey/secrets/signing",
        "/var/run/valetkey/secrets/fingerprint",
        "/tmp",
    ]


@pytest.mark.parametrize("part", ["serve", "migrate"])
def test_the_rendered_configuration_is_one_that_valetkey_reads(
    objects: Objects, tmp_path: Path, part: str
) -> None:
    """The settings themselves accept the file, with the paths at which the chart mounts things."""
    path = tmp_path / "valetkey.yaml"
    path.write_text(objects["ConfigMap", part]["data"]["valetkey.yaml"])
    settings = load_settings(path)
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 8210)  # noqa: S104
    assert settings.catalogue == Path("/etc/valetkey/catalogue")
    pod = serve(objects) if part == "serve" else migrate(objects)
    (container,) = pod["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    needed = [settings.database.migration_url_file]
    if part == "serve":
        assert settings.database.migration_url_file is None
        needed = [settings.database.url_file, settings.signing_key_file]
        assert settings.signing_key_folder is None or str(settings.signing_key_folder) in mounted
        needed += [settings.fingerprint_key_file, settings.server.tls_certificate_file]
        needed += [settings.openbao.identity_token_file] if settings.openbao else []
    assert {str(path.parent) for path in needed if path} <= mounted


def test_probes_speak_tls_when_serve_does(chart: helm_python.Chart) -> None:
    """With a certificate of our own in the configuration the kubelet asks by HTTPS."""
    schemes = {}
    for name in ("minimal", "shared-cluster"):
        (container,) = serve(rendered(chart, values_of(name)))["containers"]
        schemes[name] = container["readinessProbe"]["httpGet"].get("scheme", "HTTP")
    assert schemes == {"minimal": "HTTP", "shared-cluster": "HTTPS"}


def test_a_role_of_aws_is_taken_with_a_token_made_for_it_and_a_key_needs_none(
    chart: helm_python.Chart, tmp_path: Path
) -> None:
    """The token is mounted where the configuration names it, and only when there is no key."""
    values = values_of("production")
    role = {"role_arn": "arn:aws:iam::123456789012:role/valetkey"}
    key = {"access_key_file": "/var/run/valetkey/secrets/aws/key"}
    found = {}
    for name, aws in (("role", role), ("key", key)):
        objects = rendered(chart, {**values, "config": {**values["config"], "aws": aws}})
        path = tmp_path / f"{name}.yaml"
        path.write_text(objects["ConfigMap", "serve"]["data"]["valetkey.yaml"])
        settings = load_settings(path)
        assert settings.aws is not None
        found[name] = settings.aws.web_identity_token_file
        mounted = {x["mountPath"] for x in serve(objects)["containers"][0]["volumeMounts"]}
        assert ("/var/run/valetkey/aws" in mounted) == (name == "role")
    assert found == {"role": Path("/var/run/valetkey/aws/token"), "key": None}


def test_serve_may_ask_its_own_cluster_about_tokens_and_only_then(
    chart: helm_python.Chart, tmp_path: Path
) -> None:
    """A token, the CA, and the right to TokenReview come with the issuer that needs them."""
    values = values_of("production")
    cluster = {
        "name": "here",
        "kind": "workload",
        "platform": "kubernetes",
        "issuer": "https://kubernetes.default.svc.cluster.local",
        "audience": "https://valetkey.example.com",
        "jwks_uri": "https://kubernetes.default.svc/openid/v1/jwks",
        "cluster": {
            "url": "https://kubernetes.default.svc",
            "ca_file": "/var/run/valetkey/cluster/ca.crt",
            "token_file": "/var/run/valetkey/cluster/token",
        },
    }
    config = {**values["config"], "issuers": [*values["config"]["issuers"], cluster]}
    objects = rendered(chart, {**values, "config": config})
    for document in objects.values():
        kubernetes_validate.validate(document, "1.34", strict=True)
    path = tmp_path / "valetkey.yaml"
    path.write_text(objects["ConfigMap", "serve"]["data"]["valetkey.yaml"])
    asked = load_settings(path).issuers[-1].cluster
    assert asked is not None
    mounted = {x["mountPath"] for x in serve(objects)["containers"][0]["volumeMounts"]}
    assert {str(asked.token_file.parent), str(asked.ca_file and asked.ca_file.parent)} <= mounted
    binding = objects["ClusterRoleBinding", "serve"]
    assert binding["roleRef"]["name"] == "system:auth-delegator"
    account = objects["ServiceAccount", "serve"]["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "prod"}]
    plain = rendered(chart, values)
    assert ("ClusterRoleBinding", "serve") not in plain


def trust_domain(**more: str) -> dict[str, str]:
    """A trust domain of SPIFFE as the configuration names it."""
    named = {"name": "mesh", "kind": "workload", "platform": "spiffe"}
    where = {"issuer": "spiffe://example.org", "audience": "https://valetkey.example.com"}
    return {**named, **where, **more}


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"x509_bundle_file": "/var/run/valetkey/bundle/bundle.pem"}, "/var/run/valetkey/bundle"),
        ({"workload_api": "unix:/var/run/valetkey/spiffe/agent.sock"}, "/var/run/valetkey/spiffe"),
    ],
    ids=["a ConfigMap", "an agent"],
)
def test_the_bundle_of_a_trust_domain_is_mounted_where_the_configuration_looks(
    chart: helm_python.Chart, more: dict[str, str], path: str
) -> None:
    """As a whole folder, so that it is replaced in place; and only when somebody looks there."""
    values = values_of("shared-cluster")
    config = {**values["config"], "issuers": [trust_domain(**more)]}
    named = {"spiffe": {"bundleConfigMap": "spire-bundle", "csiDriver": "csi.spiffe.io"}}
    objects = rendered(chart, {**values, "config": config, **named})
    for document in objects.values():
        kubernetes_validate.validate(document, "1.34", strict=True)
    (container,) = serve(objects)["containers"]
    mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
    assert mounts[path]["readOnly"]
    assert "subPath" not in mounts[path]
    plain = serve(rendered(chart, values))["containers"][0]["volumeMounts"]
    assert path not in {mount["mountPath"] for mount in plain}
