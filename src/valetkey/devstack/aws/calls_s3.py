"""Which permissions an S3 request needs: "Actions, resources, and condition keys for Amazon S3".

Only path-style addressing, which clients choose by themselves for an IP address. Access control
lists, bucket policies and whatever else is not in the tables is refused, not let through.
"""

from __future__ import annotations

from urllib.parse import unquote
from xml.etree import ElementTree as ET

from valetkey.devstack.aws.asked import Request, Values
from valetkey.devstack.aws.wire import Call, Refused, not_judged

_PLAIN = frozenset({
    "list-type", "prefix", "delimiter", "max-keys", "encoding-type", "marker", "start-after",
    "continuation-token", "fetch-owner", "key-marker", "version-id-marker", "upload-id-marker",
    "max-uploads", "max-parts", "part-number-marker", "partNumber", "versionId", "x-id",
    "response-content-type", "response-content-disposition",
})  # fmt: skip
"""Parameters that do not change which action is meant."""

_BUCKET = {
    ("GET", ""): "ListBucket",
    ("HEAD", ""): "ListBucket",
    ("PUT", ""): "CreateBucket",
    ("DELETE", ""): "DeleteBucket",
    ("GET", "location"): "GetBucketLocation",
    ("GET", "versions"): "ListBucketVersions",
    ("GET", "uploads"): "ListBucketMultipartUploads",
    ("GET", "versioning"): "GetBucketVersioning",
    ("PUT", "versioning"): "PutBucketVersioning",
}
_OBJECT = {
    ("GET", ""): "GetObject",
    ("HEAD", ""): "GetObject",
    ("PUT", ""): "PutObject",
    ("DELETE", ""): "DeleteObject",
    ("GET", "tagging"): "GetObjectTagging",
    ("PUT", "tagging"): "PutObjectTagging",
    ("DELETE", "tagging"): "DeleteObjectTagging",
    ("POST", "uploads"): "PutObject",
    ("PUT", "uploadId"): "PutObject",
    ("POST", "uploadId"): "PutObject",
    ("GET", "uploadId"): "ListMultipartUploadParts",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}
_VERSIONED = {"GetObject", "DeleteObject", "GetObjectTagging"}


def read(call: Call) -> list[Request]:
    """Return every permission `call` needs. Raises Refused (501) when that is not known."""
    bucket, key = place(call)
    _refuse_acl(call)
    if not bucket:
        if call.method != "GET":
            raise not_judged(f"{call.method} /")
        return [Request("s3:ListAllMyBuckets", "*")]
    sub = _subresource(call)
    if not key:
        return _on_bucket(call, bucket, sub)
    return _on_object(call, f"{bucket}/{key}", sub)


def place(call: Call) -> tuple[str, str]:
    """Return bucket and key of a path-style request, decoded; empty when not named."""
    bucket, _, key = call.path.lstrip("/").partition("/")
    return unquote(bucket), unquote(key)


def may_list(call: Call) -> Request:
    """Return the permission without which S3 says 403, not 404, of a key that is not there."""
    return Request("s3:ListBucket", _arn(place(call)[0]))


def _on_bucket(call: Call, bucket: str, sub: str) -> list[Request]:
    if (call.method, sub) == ("POST", "delete"):
        return [Request("s3:DeleteObject", _arn(f"{bucket}/{key}")) for key in _named(call.body)]
    name = _known(_BUCKET, call.method, sub)
    keys: dict[str, Values] = {
        f"s3:{name}": value
        for name, value in call.parameters.items()
        if name in ("prefix", "delimiter", "max-keys")
    }
    return [Request(f"s3:{name}", _arn(bucket), keys)]


def _on_object(call: Call, path: str, sub: str) -> list[Request]:
    name = _known(_OBJECT, call.method, sub)
    if "versionId" in call.parameters:
        if name not in _VERSIONED:
            raise not_judged(f"a version with {name}")
        name = name.replace("Object", "ObjectVersion", 1)
    needed = [Request(f"s3:{name}", _arn(path))]
    if "x-amz-tagging" in call.headers:
        needed.append(Request("s3:PutObjectTagging", _arn(path)))
    if source := call.headers.get("x-amz-copy-source"):
        needed.append(_copied(unquote(source).lstrip("/")))
    return needed


def _copied(source: str) -> Request:
    path, _, version = source.partition("?versionId=")
    return Request("s3:GetObjectVersion" if version else "s3:GetObject", _arn(path))


def _subresource(call: Call) -> str:
    """Return the parameter that says which sub-resource is meant, empty for the thing itself."""
    names = [
        name
        for name in call.parameters
        if name not in _PLAIN and not name.lower().startswith("x-amz-")
    ]
    if len(names) > 1:
        raise not_judged(f"the parameters {', '.join(sorted(names))} together")
    return names[0] if names else ""


def _known(table: dict[tuple[str, str], str], method: str, sub: str) -> str:
    try:
        return table[method, sub]
    except KeyError:
        raise not_judged(f"{method} ?{sub}") from None


def _refuse_acl(call: Call) -> None:
    if any(name == "x-amz-acl" or name.startswith("x-amz-grant-") for name in call.headers):
        raise not_judged("access control lists")


def _named(body: bytes) -> list[str]:
    """Return the keys that a multi-object delete names."""
    try:
        tree = ET.fromstring(body)  # noqa: S314  a body of at most 64 MiB, dev only
    except ET.ParseError:
        raise Refused(400, "MalformedXML", "The XML you provided was not well-formed.") from None
    if any(one.tag.endswith("VersionId") for one in tree.iter()):
        raise not_judged("deleting several versions at once")
    return [one.text or "" for one in tree.iter() if one.tag.endswith("Key")]


def _arn(path: str) -> str:
    return f"arn:aws:s3:::{path}"
