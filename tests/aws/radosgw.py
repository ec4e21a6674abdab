"""A real S3 and STS server, Ceph's RADOS gateway, on loopback with everything in memory.

A monitor, one object store in memory, the gateway; about 12 seconds. Debian's packages carry it
(`make system-deps`). Version 16 knows neither session tags nor SourceIdentity, and reads policy
documents as they are only without whitespace.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import urllib3

from valetkey.devstack import process
from valetkey.devstack.folders import DataFolder
from valetkey.devstack.process import Program, Running

PROGRAMS = ("ceph", "ceph-authtool", "ceph-mon", "ceph-osd", "monmaptool", "radosgw",
            "radosgw-admin")  # fmt: skip
BROKER = ("AKBROKER", "SKBROKER")

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = {monitor}
mon initial members = a
keyring = {root}/keyring
public network = 127.0.0.0/8
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 5000
osd objectstore = memstore
memstore device bytes = 268435456
run dir = {root}
admin socket = {root}/$name.asok
log file = {root}/$name.log
mon data = {root}/mon
osd data = {root}/osd
rgw data = {root}/rgw
rgw s3 auth use sts = true
rgw sts key = abcdefghijklmnop
"""


def installed() -> bool:
    """Whether every program is there."""
    return all(shutil.which(name) for name in PROGRAMS)


@dataclass
class Gateway:
    """One gateway: `start`, use `address` with the keys `BROKER`, close what `start` was given."""

    folder: DataFolder
    port: int = 0

    @property
    def address(self) -> str:
        """The endpoint of S3, STS and IAM alike."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, ending: ExitStack) -> None:
        """Bring up all three servers and make the broker's user. `ending` stops them."""
        self._write_configuration()
        self._write_keys()
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring")
        self._serve(ending, "ceph-mon", "-f", "-i", "a")
        identity = str(uuid.uuid4())
        self._run("ceph", "osd", "new", identity, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", identity)
        self._serve(ending, "ceph-osd", "-f", "-i", "0")
        self._run("ceph", "osd", "crush", "add", "osd.0", "1.0", "root=default", "host=h")
        front = f"beast endpoint=127.0.0.1:{self.port}"
        self._serve(ending, "radosgw", "-f", "-n", "client.rgw", "--rgw-frontends", front)
        if not process.wait_until(self._answers, 60.0, pause=0.1):
            raise TimeoutError("radosgw does not answer")
        key, secret = BROKER
        named = ["--uid", "broker", "--display-name", "broker"]
        self._run("radosgw-admin", "user", "create", *named, "--access-key", key,
                  "--secret-key", secret)  # fmt: skip
        self._run("radosgw-admin", "caps", "add", "--uid", "broker", "--caps", "roles=*")

    def _write_configuration(self) -> None:
        self.port, one, other = (
            process.port_for(self.folder, name) for name in ("radosgw", "mon-v2", "mon-v1")
        )
        for name in ("mon", "osd", "rgw"):
            (self._root / name).mkdir()
        self._monitor = f"[v2:127.0.0.1:{one},v1:127.0.0.1:{other}]"
        self._fsid = str(uuid.uuid4())
        text = _CONFIGURATION.format(fsid=self._fsid, monitor=self._monitor, root=self._root)
        (self._root / "ceph.conf").write_text(text)

    def _write_keys(self) -> None:
        everything = [word for who in ("mon", "osd", "mgr") for word in ("--cap", who, "allow *")]
        caps = {
            "mon.": ["--cap", "mon", "allow *"],
            "client.admin": everything,
            "client.rgw": everything,
            "osd.0": everything[:6],
        }
        for number, (name, words) in enumerate(caps.items()):
            made = ["--create-keyring"] if number == 0 else []
            self._tool("ceph-authtool", "keyring", *made, "--gen-key", "-n", name, *words)
        self._tool("monmaptool", "--create", "--addv", "a", self._monitor, "--fsid", self._fsid,
                   "monmap")  # fmt: skip

    def _run(self, program: str, *words: str) -> None:
        self._tool(program, "-c", "ceph.conf", *words)

    def _tool(self, program: str, *words: str) -> None:
        done = subprocess.run(
            [program, *words], cwd=self._root, capture_output=True, text=True, timeout=60
        )
        if done.returncode:
            raise RuntimeError(f"{program} {words[0]}: {done.stderr[-500:]}")

    def _serve(self, ending: ExitStack, program: str, *words: str) -> None:
        argv = [str(shutil.which(program)), "-c", "ceph.conf", *words]
        env = {"PATH": "/usr/bin:/bin", "HOME": str(self._root)}
        child = process.spawn(self.folder, Program(program, argv, env, self._root))
        started = process.start_time(child.pid) or "gone"

        def stop() -> None:
            process.stop(Running(child.pid, started), process.signal.SIGKILL)
            child.wait()

        ending.callback(stop)

    def _answers(self) -> bool:
        try:
            return urllib3.request("GET", self.address, retries=False, timeout=2).status > 0
        except urllib3.exceptions.HTTPError:
            return False

    @property
    def _root(self) -> Path:
        return self.folder.root


class Starting:
    """A gateway that is being started in a thread; `close` stops it in any case."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="valetkey-radosgw-"))
        self._gateway = Gateway(DataFolder.at(self._folder / "data"))
        self._ending = ExitStack()
        self._pool = ThreadPoolExecutor(max_workers=1)
        self._started = self._pool.submit(self._gateway.start, self._ending)

    def gateway(self) -> Gateway:
        """The gateway, once it serves. Raises what kept it from starting."""
        self._started.result(timeout=150)
        return self._gateway

    def close(self) -> None:
        """Stop its servers, and delete their folder."""
        self._pool.shutdown(wait=True)
        self._ending.close()
        shutil.rmtree(self._folder, ignore_errors=True)
