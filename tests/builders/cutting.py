"""A TCP relay that breaks the link at a chosen byte, in one of the ways in which links break."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator

_CHUNK_BYTES = 1024
_STALL_SECS = 2.0


class Relay:
    """Passes bytes between clients and a server on loopback; breaks once, then works again.

    ``broke`` is called in the relay's thread at the byte where it breaks, before the link is cut;
    without ``cut`` the link stays whole. ``passed_bytes`` counts both directions.
    """

    def __init__(self, port: int) -> None:
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.passed_bytes = 0
        self._break_at: int | None = None
        self._cut = ""
        self._broke: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def count(self) -> None:
        """Count bytes anew, and do not break."""
        self.break_at(1 << 60, cut="")

    def break_at(self, place: int, *, cut: str, broke: Callable[[], object] | None = None) -> None:
        """Break when ``place`` bytes have passed from now on.

        ``cut`` is "reset" (at once), "close" (in order), "stall" (nothing passes for a while, then
        a reset), or "" for none.
        """
        with self._lock:
            self.passed_bytes, self._break_at = 0, place
            self._cut, self._broke = cut, broke or (lambda: None)

    @property
    def has_broken(self) -> bool:
        """True if the place was reached."""
        return self._break_at is None

    def close(self) -> None:
        """Stop listening and drop every link."""
        with contextlib.suppress(OSError):
            self._listener.close()
        self._drop(reset=False, links=self._open)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
            except OSError:
                return
            self._open += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                for part in self._parts(chunk):
                    sink.sendall(part)
            sink.shutdown(socket.SHUT_WR)
            return
        # A link that one side broke is broken for the other.
        self._drop(reset=True, links=[source, sink])

    def _parts(self, chunk: bytes) -> Iterator[bytes]:
        with self._lock:
            before, self.passed_bytes = self.passed_bytes, self.passed_bytes + len(chunk)
            breaks = self._break_at is not None and self.passed_bytes >= self._break_at
            place = (self._break_at or 0) - before
            if breaks:
                self._break_at = None
        if not breaks:
            yield chunk
            return
        yield chunk[:place]
        self._broke()
        if self._cut == "stall":
            time.sleep(_STALL_SECS)
        if self._cut:
            self._drop(reset=self._cut != "close", links=self._open)
        else:
            yield chunk[place:]

    def _drop(self, *, reset: bool, links: list[socket.socket]) -> None:
        with self._lock:
            gone = [link for link in links if link in self._open]
            self._open = [link for link in self._open if link not in gone]
        for link in gone:
            with contextlib.suppress(OSError):
                if reset:
                    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                # Wakes the threads that read from it; they close nothing that is open elsewhere.
                link.shutdown(socket.SHUT_RDWR)
            link.close()
