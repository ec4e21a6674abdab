"""An emulator of STS, IAM and S3 that judges: moto keeps the objects, we decide who may.

`python -m valetkey.devstack.aws --port P --keys FILE` serves it on loopback, for an unmodified
boto3 (and whatever signs with Signature Version 4). Everything shown of it names it an emulator:
what holds here is unproven on AWS. What cannot be judged is refused with 501.

    aws = Aws(folder)                                   # service: a child of the dev stack
    aws.address; aws.credentials_file; aws.external_id()
    aws.client("iam"); aws.client("sts", exports.BROKER)
    aws.turn(ahead=901); aws.turn(lag=3); aws.turn(faults=[{"action": "iam:PutRolePolicy"}])

Policies: `asked`, `operators`, `conditions`, `documents`. Requests: `wire`, `signature`,
`callers`, `calls_s3`, `calls_iam`, `sts_wish`, `sts`, `app`. State: `directory`, `clock`.
The sample target: `exports`.
"""
