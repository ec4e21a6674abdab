"""The embedded dev stack under one data folder: PostgreSQL, OpenBao, a small OIDC issuer, and an
emulator of AWS.

Imported only by `cli/dev` and tests. Everything is a child process on loopback.

    stack = Stack(folder, Options(durable=False))    # valetkey.devstack.stack
    stack.start(); ...; stack.stop(); stack.destroy()
    stack.owner_dsn() / app_dsn() / superuser_dsn("orders")
    stack.openbao.address, stack.openbao.as_root()   # root: tests and provisioning only
    stack.identity_token_file                        # JWT login at OpenBao, kept fresh
    stack.issuer_url; stack.endpoints()              # all of it, JSON, secrets as file names

    stack.aws.address, stack.aws.client("s3")        # the emulator: bucket `orders-exports`

In tests: `from tests.stack import stack` gives a session-wide, non-durable one.
By hand: `python -m valetkey.devstack.stack --data DIR` prints the endpoints and stays up.

OpenBao: mount `database-orders`, connections `orders-0` .. `orders-3` (user name = role name,
allowed roles `vk-*`), static role `orders-inspector`, KV v2 `valetkey` (claims in
`valetkey/data/claims/<target>`), JWT auth mount `jwt` with the roles `valetkey-writer` (batch,
60 s, no delete), `valetkey-reader` (periodic), `valetkey-ender`, `valetkey-inspector`; audience
`openbao`. Each writer policy is `valetkey-writer-<target>`, given in `Options.writer_policies`.

The issuer (`endpoints()["issuer"]`): people log in at `url` as client `valetkey-cli` (code flow
with PKCE, device flow; sample people olivia, arun, bea, aud, opal, otto with passwords in
`people_file`; `people.py` plays one); `ci_issuer` answers at `ci_request_url` to the bearer of
`ci_request_token_file`; `workload_issuer` gives refund-bot and report-bot tokens (`workload.py`).

    up(folder, options, more=lambda stack: [Command(...)], announce=...)   # foreground
    detached(folder, argv_that_calls_up); down(folder); status(folder)     # valetkey.devstack.stack
"""
