"""A wire to a server that can be cut or go silent: what stands for a target's outage."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class Wire:
    """Forwards TCP connections from a loopback port of its own to another, or does not.

    `silent` takes connections and passes nothing on, as a frozen server does; `down` hangs up on
    everybody and lets nobody in.
    """

    def __init__(self, port: int) -> None:
        self._upstream = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open = threading.Event()
        self._open.set()
        self._down = False
        self._ends: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def silent(self) -> None:
        """From now on nothing comes through; nobody is told."""
        self._open.clear()

    def down(self) -> None:
        """Hang up on everybody; whoever comes is hung up on at once."""
        self._down = True
        self._open.set()
        for end in list(self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def up(self) -> None:
        """Everything comes through again, what waited too."""
        self._down = False
        self._open.set()

    def close(self) -> None:
        """Hang up for good."""
        self.down()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._open.wait()
        if self._down:
            client.close()
            return
        with client, socket.create_connection(("127.0.0.1", self._upstream)) as server:
            ends = {client: server, server: client}
            self._ends |= ends.keys()
            with contextlib.suppress(OSError), selectors.DefaultSelector() as ready:
                for end in ends:
                    ready.register(end, selectors.EVENT_READ)
                self._pass_on(ready, ends)
            self._ends -= ends.keys()

    def _pass_on(
        self, ready: selectors.BaseSelector, ends: dict[socket.socket, socket.socket]
    ) -> None:
        while True:
            for key, _ in ready.select():
                end = key.fileobj
                assert isinstance(end, socket.socket)
                read = end.recv(65536)
                self._open.wait()
                if not read or self._down:
                    return
                ends[end].sendall(read)
