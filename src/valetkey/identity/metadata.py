"""What we publish of ourselves, as authorization server and as protected resource."""

from __future__ import annotations

from typing import Final

from valetkey.core.backchannel import CIBA
from valetkey.identity.client_credentials import ALGORITHMS as CLIENT_ALGORITHMS
from valetkey.identity.client_credentials import CLIENT_CREDENTIALS
from valetkey.identity.details import TYPE
from valetkey.identity.dpop import ALGORITHMS
from valetkey.identity.exchange import GRANT_TYPE, JWT_BEARER

_SIGNED: Final = ["ES256"]


def authorization_server(url: str, *, mtls: bool = False) -> dict[str, object]:
    """RFC 8414 section 2, at an issuer identifier without a trailing slash; only what there is.

    There is no authorization endpoint, so that no response type is supported. With `mtls` clients
    may prove themselves by a certificate, to which tokens are bound then (RFC 8705 section 3.3).
    """
    return {
        "issuer": url,
        "token_endpoint": f"{url}/oauth2/token",
        "introspection_endpoint": f"{url}/oauth2/introspect",
        "revocation_endpoint": f"{url}/oauth2/revoke",
        "backchannel_authentication_endpoint": f"{url}/oauth2/bc-authorize",
        "backchannel_token_delivery_modes_supported": ["poll"],
        "backchannel_user_code_parameter_supported": False,
        "jwks_uri": f"{url}/oauth2/jwks",
        "grant_types_supported": [GRANT_TYPE, JWT_BEARER, CLIENT_CREDENTIALS, CIBA],
        "response_types_supported": [],
        "token_endpoint_auth_methods_supported": ["none", "private_key_jwt", *_certificates(mtls)],
        "tls_client_certificate_bound_access_tokens": mtls,
        "token_endpoint_auth_signing_alg_values_supported": list(CLIENT_ALGORITHMS),
        "introspection_endpoint_auth_methods_supported": ["private_key_jwt"],
        "introspection_endpoint_auth_signing_alg_values_supported": _SIGNED,
        "revocation_endpoint_auth_methods_supported": ["none", "private_key_jwt"],
        "revocation_endpoint_auth_signing_alg_values_supported": list(CLIENT_ALGORITHMS),
        "authorization_details_types_supported": [TYPE],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        "protected_resources": [url],
    }


def _certificates(mtls: bool) -> list[str]:
    """The one method of RFC 8705 that there is: by the URI in a certificate."""
    return ["tls_client_auth"] if mtls else []


def protected_resource(url: str, *, mtls: bool = False) -> dict[str, object]:
    """RFC 9728 section 2: whose tokens `/v1` takes, and how they are sent."""
    return {
        "resource": url,
        "authorization_servers": [url],
        "jwks_uri": f"{url}/oauth2/jwks",
        "resource_name": "Valetkey",
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": list(ALGORITHMS),
        "dpop_bound_access_tokens_required": not mtls,
        "tls_client_certificate_bound_access_tokens": mtls,
    }
