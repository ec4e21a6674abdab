"""An emulator of STS, IAM and S3 that judges: moto keeps the objects, we decide who may.

`python -m valetkey.devstack.aws --port P --keys FILE` serves it on loopback, for an unmodified
boto3. Everything shown of it names it an emulator: what holds here is unproven on AWS.

asked, operators, conditions, documents   policy documents, read and judged
"""
