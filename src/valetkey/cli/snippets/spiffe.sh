#!/bin/sh
# A SPIFFE workload that is the agent $agent, by a JWT-SVID that spiffe-helper keeps fresh in a
# file. Bind it by
#   valetkey agent bind $agent ISSUER sub=spiffe://TRUST-DOMAIN/PATH
set -eu
umask 077
folder="$$(mktemp -d)"
cat > "$$folder/helper.conf" <<CONF
agent_address = "$${SPIFFE_ENDPOINT_SOCKET:-/run/spire/agent.sock}"
cert_dir = "$$folder"
daemon_mode = true
jwt_svids = [{jwt_audience = "$audience", jwt_svid_file_name = "svid.token"}]
CONF
spiffe-helper -config "$$folder/helper.conf" &
helper=$$!
trap 'kill "$$helper"; rm -rf "$$folder"' EXIT
tries=0
until [ -s "$$folder/svid.token" ] || [ "$$tries" -ge 30 ]; do tries=$$((tries + 1)); sleep 1; done

export VALETKEY_URL="$url"
export VALETKEY_IDENTITY_TOKEN_FILE="$$folder/svid.token"
valetkey run --scope 'orders-db:read{region=eu}' --ttl 5m --purpose "look at orders" -- \
  psql -c "SELECT count(*) FROM orders"
