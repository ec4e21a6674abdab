#!/bin/sh
# Whatever runs as a role of AWS and is the agent $agent, by a token of that role. The role needs
# sts:GetWebIdentityToken, and the account outbound identity federation. Bind it by
#   valetkey agent bind $agent ISSUER sub=arn:aws:iam::ACCOUNT:role/ROLE
set -eu
umask 077
file="$$(mktemp)"
trap 'rm -f "$$file"' EXIT
aws sts get-web-identity-token --audience "$audience" --signing-algorithm ES384 \
  --duration-seconds 900 --query WebIdentityToken --output text > "$$file"

export VALETKEY_URL="$url"
export VALETKEY_IDENTITY_TOKEN_FILE="$$file"
valetkey run --scope 'orders-db:read{region=eu}' --ttl 5m --purpose "look at orders" -- \
  psql -c "SELECT count(*) FROM orders"
