#!/bin/sh
# A SPIFFE workload that is the agent refund-bot, by what its agent of SPIFFE gives it. Bind its ID by
#   valetkey agent bind refund-bot ISSUER sub=spiffe://TRUST-DOMAIN/PATH
# It is good for both forms of its identity. Needed here: pip install 'valetkey[spiffe]'.
set -eu
export SPIFFE_ENDPOINT_SOCKET="${SPIFFE_ENDPOINT_SOCKET:-unix:/run/spire/agent.sock}"
export VALETKEY_URL="https://valetkey.example.com" VALETKEY_AUDIENCE="https://valetkey.example.com"

# A JWT-SVID passes through proxies. Where TLS ends at the broker itself, an X.509-SVID is better:
#   export VALETKEY_SVID=x509
# Without that extra let spiffe-helper write the certificate and its key into files, and name them:
#   export VALETKEY_X509_SVID_FILE=svid.pem VALETKEY_X509_KEY_FILE=svid_key.pem
valetkey run --scope 'orders-db:read{region=eu}' --ttl 5m --purpose "look at orders" -- \
  psql -c "SELECT count(*) FROM orders"
