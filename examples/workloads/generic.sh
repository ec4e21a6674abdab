#!/bin/sh
# Any workload that is the agent refund-bot, by a token that its platform keeps fresh in a file, made
# for the audience https://valetkey.example.com. Bind it by
#   valetkey agent bind refund-bot ISSUER sub=SUBJECT
set -eu
export VALETKEY_URL="https://valetkey.example.com"
: "${VALETKEY_IDENTITY_TOKEN_FILE:?names the file with the platform's token}"
valetkey run --scope 'orders-db:read{region=eu}' --ttl 5m --purpose "look at orders" -- \
  psql -c "SELECT count(*) FROM orders"
