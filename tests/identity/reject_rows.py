"""Every rule of the reject list in words, and the tests of it beside the cases of `reject_rules`.

A test is named `file::test` or `file::test[case]`; tests/house/test_reject_list.py demands that it
is there. Numbers are those of the profile: 3.5 inbound identity by platform, 3.6 any JWT, 3.7 DPoP.
Not listed is what is not built: WIMSE tokens. X.509-SVIDs have tests of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

KEY = "identity/test_client_credentials.py"
SPIFFE = "identity/test_spiffe.py"
KUBERNETES = "identity/test_kubernetes.py"
GITHUB = "identity/test_github_actions.py"
GITLAB = "identity/test_gitlab.py"
AWS = "identity/test_aws_workloads.py"
INBOUND = "identity/test_inbound_proofs.py"
EXCHANGE = "identity/test_exchange.py"
REGISTERED = "identity/test_registered.py"
LIST = "identity/test_reject_list.py"
BAD_KEY = f"{KEY}::test_a_bad_assertion_is_an_invalid_client"
BAD_JOB = f"{GITHUB}::test_a_job_is_refused_when_its_token_is"
BAD_LAB = f"{GITLAB}::test_a_job_is_refused_when_its_token_is"
BAD_POD = f"{KUBERNETES}::test_a_token_costs_the_cluster_nothing_when_it_is"
BAD_HEADER = f"{SPIFFE}::test_an_svid_is_refused_when_its_header"
BAD_SVID = f"{SPIFFE}::test_an_svid_is_refused_when_it"
BAD_ROLE = f"{AWS}::test_a_token_is_refused_when_it"


@dataclass(frozen=True)
class Row:
    """What is refused, and the tests that say so."""

    refused: str
    tests: tuple[str, ...] = ()


ROWS: Mapping[str, Row] = {
    "3.5-key-audience": Row(
        "private_key_jwt whose `aud` is anything but our issuer identifier as one string",
        (
            f"{BAD_KEY}[for the token endpoint]",
            f"{BAD_KEY}[for an array of one]",
            f"{BAD_KEY}[for us and another]",
            f"{BAD_KEY}[for us with a slash]",
        ),
    ),
    "3.5-key-client": Row(
        "… whose `iss`, `sub` and `client_id` are not one client",
        (
            f"{BAD_KEY}[by one about another]",
            f"{KEY}::test_a_form_that_asks_for_more_or_otherwise_is_refused",
        ),
    ),
    "3.5-key-life": Row("… that lives longer than 300 s", (f"{BAD_KEY}[longer than 300 s]",)),
    "3.5-key-once": Row(
        "… whose `jti` the client used before, at this endpoint or another",
        (
            f"{KEY}::test_an_assertion_is_accepted_once_by_all_replicas_together",
            f"{KEY}::test_an_agent_revokes_by_its_own_key",
        ),
    ),
    "3.5-key-typ": Row(
        "… of any type but client-authentication+jwt",
        (f"{BAD_KEY}[of type JWT]", f"{BAD_KEY}[of no type]", f"{BAD_KEY}[a DPoP proof by type]"),
    ),
    "3.5-secret": Row(
        "A shared secret, in the form or by HTTP Basic",
        (
            "api/test_client_keys.py::test_a_shared_secret_in_header_or_form_is_an_invalid_client",
            "api/test_authlib.py::test_a_secret_is_no_way_in",
        ),
    ),
    "3.5-svid-alg": Row(
        "A JWT-SVID under an algorithm that the specification does not name",
        (f"{SPIFFE}::test_a_trust_domain_that_is_none_cannot_be_registered",),
    ),
    "3.5-svid-header": Row(
        "… with a header member beyond alg, kid and typ",
        tuple(
            f"{BAD_HEADER}[{case}]"
            for case in ("names where keys are", "carries a key", "is critical")
        ),
    ),
    "3.5-svid-typ": Row("… of another type", (f"{BAD_HEADER}[names another type]",)),
    "3.5-svid-sub": Row("… whose `sub` is no SPIFFE ID", (f"{BAD_SVID}[is no SPIFFE ID]",)),
    "3.5-svid-aud": Row(
        "… without `aud`, for another, or for others as well",
        tuple(
            f"{BAD_SVID}[{case}]"
            for case in ("has no audience", "is for another", "is for others as well")
        ),
    ),
    "3.5-svid-exp": Row("… without an end", (f"{BAD_SVID}[has no end]",)),
    "3.5-svid-keys": Row(
        "… under a key that is not in its trust domain's bundle for this use",
        (f"{SPIFFE}::test_only_keys_for_jwt_svids_count",),
    ),
    "3.5-spiffe-id": Row(
        "A SPIFFE ID in any but its one spelling",
        (
            f"{SPIFFE}::test_a_spiffe_id_is_refused_when_it_has",
            f"{SPIFFE}::test_what_is_read_as_a_spiffe_id_is_written_the_same_way",
        ),
    ),
    "3.5-spiffe-match": Row(
        "… that only begins as the bound one, or as the trust domain",
        (
            f"{SPIFFE}::test_bindings_are_by_the_whole_id",
            f"{BAD_SVID}[is of a longer trust domain]",
        ),
    ),
    "3.5-kubernetes-audience": Row(
        "A Kubernetes token without our audience, or for others as well",
        (f"{BAD_POD}[without an audience]", f"{BAD_POD}[for the API server as well]"),
    ),
    "3.5-kubernetes-pins": Row(
        "… of an account that is not the bound one by namespace, name and uid",
        (
            f"{KUBERNETES}::test_a_token_of_another_account_is_nobodys",
            f"{KUBERNETES}::test_a_binding_without_namespace_name_and_uid_is_refused",
        ),
    ),
    "3.5-kubernetes-review": Row(
        "… that the API server does not vouch for, or cannot be asked about",
        (
            f"{KUBERNETES}::test_nobody_gets_in_when_the_cluster_says",
            f"{KUBERNETES}::test_nobody_gets_in_while_the_api_server",
            f"{KUBERNETES}::test_the_cluster_is_asked_again_for_each_exchange",
        ),
    ),
    "3.5-kubernetes-legacy": Row(
        "… of the older kind, without end or audience",
        (f"{BAD_POD}[of the older kind]", f"{BAD_POD}[without an end]"),
    ),
    "3.5-github-audience": Row(
        "A GitHub token for the owner's URL, its default audience",
        (
            f"{BAD_JOB}[for the owner's URL, the default audience]",
            f"{GITHUB}::test_the_platforms_default_audience_cannot_be_registered",
        ),
    ),
    "3.5-github-pins": Row(
        "… under a rule without repository_id, repository_owner_id, event_name and a place",
        (
            f"{GITHUB}::test_a_rule_without_what_is_demanded_lets_nobody_in",
            f"{GITHUB}::test_a_binding_that_pins_too_little_is_refused",
        ),
    ),
    "3.5-github-place": Row(
        "… of another environment or ref, or with one that its subject contradicts",
        (
            f"{GITHUB}::test_a_job_that_differs_from_the_rule_is_nobody",
            f"{BAD_JOB}[of another environment by its subject]",
            f"{BAD_JOB}[with a ref other than its subject's]",
        ),
    ),
    "3.5-github-pull-request": Row(
        "… of a pull request, however it shows",
        (f"{BAD_JOB}[of a pull request]", f"{BAD_JOB}[of a pull request by its subject]"),
    ),
    "3.5-github-workflow": Row(
        "… of another repository's workflow that is not pinned",
        (f"{GITHUB}::test_a_workflow_of_another_repository_must_be_pinned",),
    ),
    "3.5-github-subject": Row(
        "… whose subject, in either form, tells of another repository",
        (
            f"{BAD_JOB}[of another id by its subject]",
            f"{BAD_JOB}[with half an id in its subject]",
            f"{GITHUB}::test_each_form_of_the_subject_is_understood",
            f"{GITHUB}::test_a_colon_in_a_name_is_written_as_its_code",
        ),
    ),
    "3.5-gitlab-audience": Row(
        "A GitLab token for another audience", (f"{BAD_LAB}[for another audience]",)
    ),
    "3.5-gitlab-pins": Row(
        "… under a rule without project_id, namespace_id and a place",
        (f"{GITLAB}::test_a_binding_that_pins_too_little_is_refused",),
    ),
    "3.5-gitlab-booleans": Row(
        '… whose booleans are not the texts "true" and "false"',
        (f"{BAD_LAB}[with a real boolean]", f"{BAD_LAB}[with another word for yes]"),
    ),
    "3.5-gitlab-fork": Row(
        "… of a fork's merge request, or one that cannot be told from it",
        (
            f"{BAD_LAB}[of a fork's merge request running here]",
            f"{BAD_LAB}[of a merge request on an older instance]",
        ),
    ),
    "3.5-aws-subject": Row(
        "An AWS token whose `sub` is not one role or user of its account",
        (f"{BAD_ROLE}[is of a session]", f"{BAD_ROLE}[is of another account by its subject]"),
    ),
    "3.5-aws-pins": Row(
        "… under a binding to less than one role, or to what the asker wrote",
        (f"{AWS}::test_a_binding_to_less_than_one_role_is_refused",),
    ),
    "3.5-aws-life": Row(
        "… that lives longer than an hour", (f"{BAD_ROLE}[lives longer than an hour]",)
    ),
    "3.6-01": Row("Over 8 KiB, or not three canonical base64url parts; JWE; JSON; detached"),
    "3.6-02": Row("A header with a repeated, unknown or dangerous member"),
    "3.6-03": Row(
        "An algorithm outside the list, `none`, HMAC, or one that is not the key's; weak keys",
        (
            f"{INBOUND}::test_a_proof_is_refused_when_it_is[1024-bit RSA]",
            f"{INBOUND}::test_a_proof_is_refused_when_it_is[symmetric key in the set]",
            f"{INBOUND}::test_a_proof_is_refused_when_it_is[key for encryption]",
        ),
    ),
    "3.6-04": Row(
        "An issuer that is not registered, letter for letter; nothing is fetched for it",
        (f"{LIST}::test_an_unknown_issuer_costs_no_fetch",),
    ),
    "3.6-05": Row(
        "A `kid` that is not plain, or that the issuer does not have; one fetch per cool-down",
        ("identity/test_jwks.py::test_unknown_kids_cause_one_fetch_per_cool_down",),
    ),
    "3.6-06": Row(
        "A token of another type than its slot's",
        (f"{LIST}::test_a_token_of_one_slot_is_good_for_no_other",),
    ),
    "3.6-07": Row(
        "A signature that does not verify",
        ("identity/test_tokens.py::test_a_mutated_platform_proof_never_verifies",),
    ),
    "3.6-08": Row("Claims that are not strict JSON, a needed one missing, times not whole seconds"),
    "3.6-09": Row("Any audience but ours alone"),
    "3.6-10": Row("Over, not yet good, made too long ago, or living too long"),
    "3.6-11": Row(
        "Used before, at any replica",
        (
            f"{LIST}::test_a_token_is_taken_once",
            f"{INBOUND}::test_a_reusable_proof_belongs_to_the_first_key_that_used_it",
            f"{INBOUND}::test_uses_are_remembered_longer_than_the_proof_lives",
        ),
    ),
    "3.6-12": Row("A subject that is not plain text of 1 to 255 letters, compared exactly"),
    "3.6-13": Row(
        "Bound to another key than the one proven, or to what cannot be checked",
        (f"{INBOUND}::test_a_proof_bound_to_the_presented_key_is_accepted",),
    ),
    "3.6-14": Row(
        "A job that no rule matches, or more than one; the rule is never chosen by `iss` alone",
        (
            f"{EXCHANGE}::test_a_job_that_differs_in_one_pinned_claim_is_refused",
            f"{EXCHANGE}::test_a_job_that_two_rules_match_is_refused",
        ),
    ),
    "3.6-15": Row(
        "A disabled agent, or one under a kill; a token that was revoked",
        (
            f"{EXCHANGE}::test_a_disabled_agent_gets_no_token",
            f"{KEY}::test_a_disabled_agent_is_denied_and_not_called_a_stranger",
            "api/test_revocation.py::test_a_revoked_access_token_is_refused_from_then_on",
        ),
    ),
    "3.7-01": Row(
        "Not exactly one DPoP header", (f"{LIST}::test_exactly_one_dpop_header_is_sent",)
    ),
    "3.7-02": Row("Not one well-formed JWT (and 3.6-01, 3.6-02, 3.6-08)"),
    "3.7-03": Row("`htm`, `htu`, `jti` or `iat` missing (the last two under 3.6-08)"),
    "3.7-04": Row(
        "Another type than dpop+jwt (3.6-06)",
        ("identity/test_dpop.py::test_a_call_is_refused_when_its_proof_is[of another type]",),
    ),
    "3.7-05": Row(
        "An algorithm that is symmetric, `none` or not in the list (3.6-03)",
        (
            "identity/test_dpop.py::test_a_call_is_refused_when_its_proof_is[symmetric]",
            "identity/test_dpop.py::test_a_call_is_refused_when_its_proof_is[unsigned]",
        ),
    ),
    "3.7-06": Row("Not signed by the key it shows"),
    "3.7-07": Row("A key with a private or symmetric part"),
    "3.7-08": Row("Another method, letter for letter"),
    "3.7-09": Row(
        "Another address, after normalisation, than the configured one",
        (
            f"{LIST}::test_the_address_of_a_proof_is_the_configured_one",
            "identity/test_dpop.py::test_urls_are_compared_after_normalisation",
        ),
    ),
    "3.7-10": Row(
        "Without the nonce, where one is demanded",
        (
            "identity/test_nonces.py::test_a_call_without_a_nonce_is_told_one_and_nothing_is_used_up",
            "identity/test_nonces.py::test_a_token_request_is_held_to_it_too",
        ),
    ),
    "3.7-11": Row("Made more than 60 s before or after now, by the database's clock"),
    "3.7-12": Row(
        "Made for another token, or by a key that the token is not bound to",
        (f"{LIST}::test_a_bound_token_goes_under_the_dpop_scheme",),
    ),
    "3.7-13": Row("Used before, at any replica (3.6-11)", (f"{LIST}::test_a_token_is_taken_once",)),
}
"""By number, in order."""
