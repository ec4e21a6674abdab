"""Identity from settings: issuers, rules, people's roles, resource servers, our own keys."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from valetkey.bootstrap.house import House
from valetkey.core.errors import BrokerError, NotReady
from valetkey.core.pins import check_pins
from valetkey.core.scope import Scope
from valetkey.core.trust import Allowance, GroupMap, IssuerRecord, ResourceServer, TrustRule
from valetkey.flows.introspect import introspect
from valetkey.flows.on_behalf import lets_act
from valetkey.flows.tell_exchange import tell_exchange
from valetkey.identity.api_server import Access, ApiServer
from valetkey.identity.authenticator import Authenticator, Behind, Registered
from valetkey.identity.authorities import BundleFile
from valetkey.identity.bindings import StoredBindings
from valetkey.identity.exchange import Exchanged
from valetkey.identity.jose import BadToken, strict_object
from valetkey.identity.jwks import fetch_bounded, keys_of, read_file
from valetkey.identity.keys import OurKeys
from valetkey.identity.minted_tokens import MintedTokens
from valetkey.identity.nonces import Nonces
from valetkey.identity.oidc import Outside
from valetkey.identity.platforms import PROFILES
from valetkey.identity.workload_api import ToldBundle, WorkloadApi
from valetkey.settings import Cluster, Issuer, Roles, Rule, Server, Settings

NO_KEYS: Final[Mapping[str, object]] = {"keys": []}
"""Of an issuer whose workloads have certificates and no tokens."""


def registered_of(settings: Settings) -> Registered:
    """All that settings register. Raises ValueError, OSError, TrustRuleTooWide."""
    return Registered(
        issuers=tuple(_issuer(issuer) for issuer in settings.issuers),
        rules=tuple(trust_rules(settings).values()),
        groups=_groups(settings.roles, settings.approver_groups),
        resource_servers=tuple(
            ResourceServer(server.client_id, server.audience, _jwks(server.jwks_file))
            for server in settings.resource_servers
        ),
        outside={one.name: _outside(one, settings.server) for one in settings.issuers},
    )


def authenticator_of(
    house: House, keys: OurKeys, seen_twice: Callable[[], object] = lambda: None
) -> Authenticator:
    """Everything that turns proofs into callers. Raises ValueError, TrustRuleTooWide.

    `seen_twice` hears of each identity that is in two places at once.
    """
    settings = house.settings
    tokens = MintedTokens(settings.external_url, keys)

    def about_lease(token: str, server: ResourceServer) -> Mapping[str, object] | None:
        try:
            claims = tokens.read(token, server.audience, house.store.now())
        except BrokerError:
            return None
        return introspect(house.broker, claims)

    def told(given: Exchanged) -> None:
        given_to = (given.caller, given.issuer, given.unaccounted, given.noted)
        if tell_exchange(house.broker, *given_to):
            seen_twice()

    behind = Behind(
        uses=house.store,
        bindings=StoredBindings(house.store),
        now=house.store.now,
        told=told,
        introspect_lease=about_lease,
        nonces=_nonces(house),
        lets_act=lambda person, agent: lets_act(house.broker, person, agent),
    )
    return Authenticator(settings.external_url, keys, registered_of(settings), behind)


def _nonces(house: House) -> Nonces | None:
    """Those of this installation, if proofs must hold them; replicas share the key already."""
    broker = house.broker
    wanted = house.settings.server.dpop_nonces
    return Nonces(broker.fingerprint, broker.older_fingerprints) if wanted else None


def trust_rules(settings: Settings) -> dict[str, TrustRule]:
    """The trust rules by name; raises TrustRuleTooWide for one that pins too little."""
    platforms = {issuer.name: issuer.platform for issuer in settings.issuers}
    for rule in settings.trust_rules:
        check_pins(platforms.get(rule.issuer, "generic"), rule.match)
    return {rule.name: _rule(rule) for rule in settings.trust_rules}


def _issuer(issuer: Issuer) -> IssuerRecord:
    """The record; what the settings leave out is as the platform's tokens are."""
    usual = PROFILES[issuer.platform].habits
    return IssuerRecord(
        name=issuer.name,
        issuer=issuer.issuer,
        kind=issuer.kind,
        audience=issuer.audience,
        algorithms=frozenset(issuer.algorithms) or usual.algorithms,
        jwks_uri=issuer.jwks_uri,
        workload_api=issuer.workload_api,
        jwks=NO_KEYS if _by_certificate_only(issuer) else None,
        jwks_file=_checked(issuer, issuer.jwks_file) if issuer.jwks_file else None,
        typ=frozenset(issuer.typ) or usual.typ,
        max_age=issuer.max_age or usual.max_age,
        max_life=issuer.max_life or usual.max_life,
        replay=issuer.replay or usual.replay,
        checked=issuer.checked,
        informative=frozenset(issuer.informative),
        uncheckable=frozenset(issuer.uncheckable),
        platform=issuer.platform,
        on_behalf_audience=issuer.on_behalf_audience,
    )


def _checked(issuer: Issuer, path: Path) -> str:
    """A file of keys, looked at now, so that a wrong one is noticed at the start."""
    try:
        keys_of(strict_object(read_file(str(path))))
    except (OSError, BadToken) as wrong:
        raise ValueError(f"issuer {issuer.name}: jwks_file holds no keys: {wrong}") from None
    return str(path)


def _by_certificate_only(issuer: Issuer) -> bool:
    elsewhere = issuer.jwks_uri or issuer.jwks_file or issuer.workload_api
    return issuer.x509_bundle_file is not None and not elsewhere


def _outside(issuer: Issuer, server: Server) -> Outside:
    """What stands behind an issuer; raises ValueError for what could never be of use."""
    if issuer.workload_api is not None:
        return _told(issuer, issuer.workload_api, server)
    behind = _cluster(issuer.cluster) if issuer.cluster else Outside()
    behind = replace(behind, at_once=issuer.at_once)
    if issuer.x509_bundle_file is None:
        return behind
    if server.tls_certificate_file is None:
        raise ValueError(f"issuer {issuer.name}: certificates are shown to TLS of our own only")
    bundle = BundleFile(str(issuer.x509_bundle_file))
    try:
        bundle.authorities()
    except NotReady:
        why = bundle.problem()
        raise ValueError(f"issuer {issuer.name}: x509_bundle_file: {why}") from None
    return replace(behind, bundle=bundle)


def _told(issuer: Issuer, socket: str, server: Server) -> Outside:
    """The agent of a trust domain: keys of it, and authorities where clients can show them."""
    if issuer.platform != "spiffe":
        raise ValueError(f"issuer {issuer.name}: only trust domains of SPIFFE have a workload_api")
    if issuer.x509_bundle_file is not None:
        raise ValueError(f"issuer {issuer.name}: not both x509_bundle_file and workload_api")
    try:
        agent = WorkloadApi(socket)
    except ValueError as wrong:
        raise ValueError(f"issuer {issuer.name}: {wrong}") from None
    agent.start()
    bundle = ToldBundle(agent, issuer.issuer) if server.tls_certificate_file else None
    return Outside(
        fetch=lambda _: agent.keys(issuer.issuer), bundle=bundle, at_once=issuer.at_once
    )


def _cluster(cluster: Cluster) -> Outside:
    """The API server that vouches; keys are fetched from it where they are its own."""
    within = cluster.within.total_seconds()
    server = ApiServer(Access(cluster.url, cluster.token_file, cluster.ca_file, within))

    def fetch(url: str) -> bytes:
        return server.fetch(url) if server.has(url) else fetch_bounded(url)

    return Outside(fetch, server.vouch)


def _rule(rule: Rule) -> TrustRule:
    allows = Allowance(
        name_prefix=rule.name_prefix,
        owners=frozenset(rule.owners),
        teams=frozenset(rule.teams),
        labels={name: frozenset(values) for name, values in rule.labels.items()},
        ceiling=tuple(Scope.parse(written) for written in rule.boundary),
        may_bind=frozenset(rule.may_bind),
    )
    applied = frozenset(rule.may_apply)
    return TrustRule(rule.name, rule.issuer, rule.match, allows, applied, rule.activate)


def _groups(roles: Roles, approvers: tuple[str, ...]) -> GroupMap:
    by_group: dict[str, set[str]] = defaultdict(set)
    for role, groups in roles:
        for group in groups:
            by_group[group].add(role)
    mapped = {group: frozenset(names) for group, names in by_group.items()}
    return GroupMap(mapped, frozenset(approvers))


def _jwks(path: Path) -> Mapping[str, object]:
    found: Mapping[str, object] = json.loads(path.read_text())
    return found
