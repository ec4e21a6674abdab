#!/bin/sh
# A workload with an X.509-SVID in files and nothing but curl: a token bound to the certificate, and a
# task opened with it. Bind the ID first: valetkey agent bind AGENT ISSUER sub=spiffe://DOMAIN/PATH
# VALETKEY_URL is the broker, SVID and SVID_KEY are the files (PEM), and CA, if need be, the authority
# of the broker's own certificate. TLS must end at the broker.
set -eu
ask() {
  curl --silent --show-error --fail-with-body --cert "$SVID" --key "$SVID_KEY" \
    ${CA:+--cacert "$CA"} "$@"
}

given="$(ask -d grant_type=client_credentials "$VALETKEY_URL/oauth2/token")"
token="$(printf %s "$given" | sed 's/.*"access_token":"\([^"]*\)".*/\1/')"

# By standard input, so that the token stands in no list of processes.
printf 'Authorization: Bearer %s\n' "$token" | ask -H @- \
  --json '{"purpose": "look at orders", "scopes": ["orders-db:read"], "ttl": 600}' \
  "$VALETKEY_URL/v1/tasks"
