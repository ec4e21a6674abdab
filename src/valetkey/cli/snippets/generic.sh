#!/bin/sh
# Any workload that is the agent $agent, by a token that its platform keeps fresh in a file, made
# for the audience $audience. Bind it by
#   valetkey agent bind $agent ISSUER sub=SUBJECT
set -eu
export VALETKEY_URL="$url"
: "$${VALETKEY_IDENTITY_TOKEN_FILE:?names the file with the platform's token}"
valetkey run --scope 'orders-db:read{region=eu}' --ttl 5m --purpose "look at orders" -- \
  psql -c "SELECT count(*) FROM orders"
