"""Settings: every field has a sentence, unknown ones are refused, secrets are only ever files.

The file is `valetkey.yaml`; an environment variable `VALETKEY_<SECTION>__<KEY>` beats it. They
are read in `bootstrap` alone and passed down as values.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from valetkey.core.pins import Platform


class Section(BaseModel):
    """A part of the file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Database(Section):
    """Our own Postgres."""

    url_file: Path = Field(description="File with the application role's URL, for `serve`.")
    migration_url_file: Path | None = Field(
        None, description="File with the owner role's URL, for `migrate` only."
    )
    app_role: str = Field("valetkey_app", description="Role that migrations give narrow grants.")
    pool: int = Field(20, ge=2, le=200, description="Connections for requests.")
    kept: int = Field(
        8, ge=2, le=200, description="Further ones, for killing, ending, the clock and health."
    )


class Server(Section):
    """Where we listen."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8210, ge=0, le=65535, description="Port to listen on.")
    threads: int = Field(40, ge=4, le=200, description="Requests worked on at the same time.")
    tls_certificate_file: Path | None = Field(None, description="Certificate, for TLS of our own.")
    tls_key_file: Path | None = Field(None, description="Its private key.")
    dpop_nonces: bool = Field(False, description="Demand a nonce of ours in every DPoP proof.")


class OpenBao(Section):
    """The OpenBao or Vault that makes database logins."""

    address: str = Field(description="Base URL.")
    ca_file: Path | None = Field(None, description="CA that signed its certificate.")
    identity_token_file: Path = Field(description="Our own platform token, read at each login.")
    jwt_mount: str = Field("jwt", description="Mount of the JWT auth method.")
    writer_role: str = Field("valetkey-writer", description="Login that writes pinned roles.")
    reader_role: str = Field("valetkey-reader", description="Login that reads credentials.")
    ender_role: str = Field("valetkey-ender", description="Login that ends.")
    inspector_role: str = Field("valetkey-inspector", description="Login for looking only.")


class Aws(Section):
    """Who we are at AWS, and where it is. Nothing is ever taken from the machine's surroundings."""

    access_key_file: Path | None = Field(
        None, description="Our own key, as profile `default` of a credentials file (0600)."
    )
    role_arn: str | None = Field(
        None, description="Instead of a key: the role that our platform's token is good for."
    )
    web_identity_token_file: Path | None = Field(
        None, description="That token (OIDC), read at each exchange."
    )
    external_id_file: Path | None = Field(
        None, description="The external id that the roles' trust policies demand."
    )
    sts_endpoint: str | None = Field(None, description="Instead of AWS's own: an emulator.")
    iam_endpoint: str | None = Field(None, description="The same for IAM.")
    connect_timeout: timedelta = Field(timedelta(seconds=5), description="To connect.")
    read_timeout: timedelta = Field(timedelta(seconds=20), description="For one answer.")

    @model_validator(mode="after")
    def one_identity(self) -> Aws:
        """Refuse none and two: a key, or a role with a token."""
        role = self.role_arn is not None and self.web_identity_token_file is not None
        half = (self.role_arn is None) != (self.web_identity_token_file is None)
        if half or role == (self.access_key_file is not None):
            raise ValueError("give access_key_file, or role_arn with web_identity_token_file")
        return self


class Cluster(Section):
    """The API server of a Kubernetes cluster, asked about each of its tokens."""

    url: str = Field(description="Its base URL.")
    ca_file: Path | None = Field(None, description="CA that signed its certificate.")
    token_file: Path = Field(description="Our own token there, read at each question.")
    within: timedelta = Field(
        timedelta(seconds=5), gt=timedelta(0), description="To connect, and for one answer."
    )


class Issuer(Section):
    """An issuer of identity tokens that we accept."""

    name: str = Field(description="Our name for it, used by trust rules and bindings.")
    kind: Literal["workload", "ci", "people"] = Field(description="Whose tokens it signs.")
    platform: Platform = Field("generic", description="What its tokens are like.")
    issuer: str = Field(description="The exact `iss`; for SPIFFE the trust domain.")
    audience: str = Field(description="The only `aud` accepted.")
    on_behalf_audience: str | None = Field(
        None, description="The `aud` of tokens by which agents act for people; never `audience`."
    )
    algorithms: tuple[str, ...] = Field(
        (), description="Accepted signature algorithms, if not the platform's."
    )
    jwks_uri: str | None = Field(None, description="Where its keys are.")
    jwks_file: Path | None = Field(None, description="Its keys in a file, without network.")
    workload_api: str | None = Field(
        None, description="Socket of an agent that tells keys and X.509 authorities (SPIFFE)."
    )
    x509_bundle_file: Path | None = Field(
        None, description="X.509 authorities of a SPIFFE trust domain (PEM, or its bundle)."
    )
    cluster: Cluster | None = None
    typ: tuple[str, ...] = Field(
        (), description="Accepted `typ`, if not the platform's; empty means absent."
    )
    max_age: timedelta | None = Field(
        None, gt=timedelta(0), description="Oldest proof, by `iat`, if not the platform's."
    )
    max_life: timedelta | None = Field(
        None, gt=timedelta(0), description="Longest `exp - iat`, if not the platform's."
    )
    replay: Literal["jti", "token_hash", "reusable_until_exp"] | None = Field(
        None, description="What makes its proofs once-only, if not the platform's."
    )
    rate: float | None = Field(
        None, ge=0.1, description="Tokens per second for all its identities, on average."
    )
    burst: int = Field(60, ge=1, le=8000, description="The same at once.")
    at_once: int = Field(
        8, ge=1, le=100, description="Requests that may wait for its keys or cluster, per replica."
    )
    checked: dict[str, str] = Field({}, description="Claims that must have exactly this value.")
    informative: tuple[str, ...] = Field((), description="Claims known to need no check.")
    uncheckable: tuple[str, ...] = Field(
        ("act", "authorization_details"), description="Claims that refuse the proof."
    )


class Rule(Section):
    """A trust rule: which CI jobs, and all that they may provision."""

    name: str = Field(description="Its name, kept with every agent it makes.")
    issuer: str = Field(description="Name of a registered issuer of kind ci.")
    match: dict[str, str] = Field(description="Claims and their exact values.")
    may_apply: tuple[Literal["agents", "catalogue", "policies"], ...] = Field(
        ("agents",), min_length=1, description="Which reviewed files its jobs may bring."
    )
    activate: bool = Field(
        False, description="Rules of its jobs come into force without a person."
    )
    name_prefix: str = Field("", description="What agents' names must begin with; agents need it.")
    owners: tuple[str, ...] = Field((), description="Owners it may name.")
    teams: tuple[str, ...] = Field((), description="Teams it may name.")
    labels: dict[str, tuple[str, ...]] = Field({}, description="Labels and their values.")
    boundary: tuple[str, ...] = Field((), description="Ceiling of scopes.")
    may_bind: tuple[str, ...] = Field(
        (), description="Issuers whose identities it may bind; `client-key` for agents' own keys."
    )


class ResourceServer(Section):
    """A service that may introspect tokens made for its audience."""

    client_id: str = Field(description="Its name, the `iss` and `sub` of its assertion.")
    audience: str = Field(description="The audience whose tokens it may ask about.")
    jwks_file: Path = Field(description="Its public keys.")


class Roles(Section):
    """Which groups of people have which role."""

    operator: tuple[str, ...] = Field((), description="May revoke anything and order kills.")
    approver: tuple[str, ...] = Field((), description="May see all waiting grants.")
    auditor: tuple[str, ...] = Field((), description="May read everything and change nothing.")


class Times(Section):
    """How long we wait for what."""

    mint_limit: timedelta = Field(timedelta(seconds=30), description="To begin outside calls in.")
    second_tap: timedelta = Field(
        timedelta(seconds=95), description="The back end's own request limit, and skew."
    )
    claim: timedelta = Field(timedelta(seconds=20), description="A claimed ending's time.")
    answer_within: timedelta = Field(timedelta(seconds=30), description="Asker's patience.")
    database_answer: timedelta = Field(
        timedelta(seconds=20), gt=timedelta(0), description="Postgres's, for one statement."
    )
    tick: timedelta = Field(timedelta(seconds=1), description="Between sweeps.")
    hung_after: timedelta = Field(
        timedelta(seconds=20), description="A call that lasts longer counts as an outage."
    )
    leave_alone: timedelta = Field(
        timedelta(seconds=10), description="Between trials of a target that does not answer."
    )
    reconcile_every: timedelta = Field(timedelta(minutes=1), description="Between comparisons.")
    probe_every: timedelta = Field(
        timedelta(minutes=1), ge=timedelta(0), description="Between probes; 0 is never."
    )
    reload_every: timedelta = Field(timedelta(seconds=30), description="Between looks at files.")
    longest_retry: timedelta = Field(timedelta(minutes=5), description="Between ending retries.")
    stuck_after: timedelta = Field(timedelta(minutes=15), description="Before a human is called.")
    stuck_after_tries: int = Field(12, ge=1, description="The same, in tries.")
    approval_wait: timedelta = Field(timedelta(minutes=15), description="For people to decide.")
    fresh_login: timedelta = Field(timedelta(minutes=5), description="Age of a fresh login.")
    longest_task: timedelta = Field(timedelta(hours=8), description="Longest task.")
    longest_delegation: timedelta = Field(
        timedelta(hours=12), description="How long an agent may act for a person at most."
    )
    missed_beats: int = Field(3, ge=1, le=100, description="Missed beats that end a task.")
    token_life: timedelta = Field(
        timedelta(seconds=300), le=timedelta(seconds=300), description="Our own tokens' life."
    )


class Limits(Section):
    """How many leases may be unended, and how fast a principal may ask; shared by all replicas."""

    leases_per_task: int = Field(20, ge=1, description="Unended leases of one task.")
    leases_per_agent: int = Field(100, ge=1, description="Unended leases of one agent.")
    leases_per_target: int = Field(1000, ge=1, description="Unended leases of one target.")
    leases_in_all: int = Field(5000, ge=1, description="Unended leases of the installation.")
    deepest_task: int = Field(3, ge=0, le=16, description="Tasks that may stand above one.")
    open_tasks: int = Field(500, ge=1, description="Open tasks that one agent opened.")
    calls_per_target: int = Field(
        8, ge=2, le=64, description="Calls of one target at once, of each replica."
    )
    calls_in_all: int = Field(
        48, ge=2, le=64, description="Calls of all targets at once, of each replica."
    )
    outages: int = Field(
        5, ge=1, le=1000, description="Calls without an answer before a target is left alone."
    )
    rate: float = Field(20, ge=0.1, description="Requests per second of a principal, on average.")
    burst: int = Field(60, ge=1, le=8000, description="Requests of a principal at once.")


class Rules(Section):
    """Where catalogue and policies come from: one or the other, never both."""

    source: Literal["files", "store"] = Field(
        "files", description="The folders beside this file, or versions kept in the database."
    )


class Leaks(Section):
    """What a report of a leak ends."""

    end_siblings: bool = Field(
        False, description="Also end the other credentials of the same task."
    )


class Settings(BaseSettings):
    """All of them."""

    model_config = SettingsConfigDict(
        env_prefix="VALETKEY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    external_url: str = Field(description="Our URL as callers see it; the issuer of our tokens.")
    catalogue: Path = Field(Path("catalogue"), description="Folder of targets and scopes.")
    policies: Path = Field(Path("policies"), description="Folder of Cedar rules.")
    signing_key_file: Path | None = Field(
        None, description="Private key (ES256, PEM) that signs our tokens, until a timed one does."
    )
    signing_key_folder: Path | None = Field(
        None, description="Folder of keys, each named by when it begins to sign."
    )
    retired_key_files: tuple[Path, ...] = Field((), description="Older keys still published.")
    fingerprint_key_file: Path = Field(description="Key of fingerprints; keep it with history.")
    retired_fingerprint_key_files: tuple[Path, ...] = Field(
        (), description="Older keys, under which leaks of older credentials are found."
    )
    approver_groups: tuple[str, ...] = Field((), description="Groups that policy may ask for.")
    login_client_id: str = Field("valetkey-cli", description="OAuth client people log in with.")
    database: Database
    server: Server = Server()
    openbao: OpenBao | None = None
    aws: Aws | None = None
    issuers: tuple[Issuer, ...] = ()
    trust_rules: tuple[Rule, ...] = ()
    resource_servers: tuple[ResourceServer, ...] = ()
    roles: Roles = Roles()
    times: Times = Times()
    limits: Limits = Limits()
    leaks: Leaks = Leaks()
    rules: Rules = Rules()

    @model_validator(mode="after")
    def some_key_signs(self) -> Settings:
        """Refuse to have no signing key at all."""
        if self.signing_key_file is None and self.signing_key_folder is None:
            raise ValueError("give signing_key_file, signing_key_folder, or both")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment beats the file; nothing else is looked at."""
        return env_settings, init_settings

    def resolved(self, folder: Path) -> Settings:
        """Every relative path taken from the file's own folder."""
        return self.model_copy(update=_from_folder(self, folder))


def _from_folder(section: BaseModel, folder: Path) -> dict[str, Any]:
    update: dict[str, Any] = {}
    for name, value in section:
        if isinstance(value, Path):
            update[name] = folder / value
        elif isinstance(value, BaseModel):
            update[name] = value.model_copy(update=_from_folder(value, folder))
        elif isinstance(value, tuple):
            update[name] = tuple(_one_from_folder(item, folder) for item in value)
    return update


def _one_from_folder(item: object, folder: Path) -> object:
    if isinstance(item, Path):
        return folder / item
    if isinstance(item, BaseModel):
        return item.model_copy(update=_from_folder(item, folder))
    return item
