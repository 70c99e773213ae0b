"""The device side of adb over TCP, for tests: what a phone's adbd says to a real adb client.

Stdlib only, so that it runs on this machine and on the virtual ARM board alike:

    python3 adbd.py --port 5555

It speaks protocol version 1: CNXN and AUTH, streams (OPEN, OKAY, WRTE, CLSE), and the services
``shell:``, ``shell,v2:``, ``exec:`` and ``sync:`` (STAT, LIST, SEND, RECV). ``--fault`` makes it
misbehave in one named way, as real devices do.

The protocol is documented in the adb package (OVERVIEW.TXT, SERVICES.TXT, SYNC.TXT); the frame of
``shell,v2:`` is one byte of kind and four of little-endian length.
"""

import argparse
import base64
import contextlib
import functools
import os
import queue
import signal
import socket
import stat
import struct
import subprocess
import sys
import threading
import time

VERSION = 0x01000000
MAX_DATA = 64 * 1024
SYNC_CHUNK = 64 * 1024

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (
    int.from_bytes(name, "little")
    for name in (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE")
)
AUTH_TOKEN, AUTH_SIGNATURE, AUTH_PUBLIC_KEY = 1, 2, 3
SHELL_STDIN, SHELL_STDOUT, SHELL_STDERR, SHELL_EXIT, SHELL_CLOSE_STDIN = 0, 1, 2, 3, 4

#: A SHA-1 DigestInfo (RFC 8017, section 9.2): adb signs the 20-byte token as if it were a digest.
SHA1_PREFIX = bytes.fromhex("3021300906052b0e03021a05000414")

#: The faults that ``--fault`` can inject.
FAULTS = (
    "none",
    "unauthorized",  # never accepts the client's key
    "no-shell-v2",  # an old device: no exit status, both streams as one
    "vanish-in-push",  # drops the connection after half a megabyte of a file
    "vanish-in-shell",  # drops the connection while a command runs
    "slow",  # a tenth of a second before every answer
    "full",  # writes fail with 'No space left on device'
    "read-only",  # writes fail with 'Read-only file system'
)


class Gone(Exception):
    """The peer closed the connection, or a fault did."""


class Connection:
    """One adb client: reads packets, hands them to streams."""

    def __init__(self, link, options):
        self.link = link
        self.options = options
        self.streams = {}
        self.next_id = 1
        self.lock = threading.Lock()

    def send(self, command, arg0, arg1, payload=b""):
        if self.options.fault == "slow":
            time.sleep(0.1)
        header = struct.pack(
            "<6I",
            command,
            arg0,
            arg1,
            len(payload),
            sum(payload) & 0xFFFFFFFF,
            command ^ 0xFFFFFFFF,
        )
        with self.lock:
            try:
                self.link.sendall(header + payload)
            except OSError as error:
                raise Gone from error

    def receive(self):
        command, arg0, arg1, length, _, magic = struct.unpack("<6I", self._exactly(24))
        if magic != command ^ 0xFFFFFFFF or length > 1 << 20:
            raise Gone
        return command, arg0, arg1, self._exactly(length)

    def _exactly(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                chunk = self.link.recv(count - len(data))
            except OSError as error:
                raise Gone from error
            if not chunk:
                raise Gone
            data += chunk
        return bytes(data)

    def serve(self):
        try:
            self._greet()
            while True:
                self._dispatch(*self.receive())
        except Gone:
            pass
        finally:
            self.drop()

    def drop(self):
        """Cut the line and everything on it, as a pulled cable does."""
        with contextlib.suppress(OSError):
            self.link.shutdown(socket.SHUT_RDWR)
        self.link.close()
        for stream in list(self.streams.values()):
            stream.closed()

    def _greet(self):
        command, _, _, _ = self.receive()
        if command != CNXN:
            raise Gone
        if self.options.auth or self.options.fault == "unauthorized":
            self._authenticate()
        features = b"cmd" if self.options.fault == "no-shell-v2" else b"shell_v2,cmd"
        banner = b"device::ro.product.name=peer;ro.product.model=Test_Peer;ro.product.device=peer;"
        self.send(CNXN, VERSION, MAX_DATA, banner + b"features=" + features)

    def _authenticate(self):
        """Ask for a signature by a known key; accept an unknown one when ``--auth accept``."""
        while True:
            token = os.urandom(20)
            self.send(AUTH, AUTH_TOKEN, 0, token)
            command, kind, _, payload = self.receive()
            if command != AUTH or self.options.fault == "unauthorized":
                continue
            if kind == AUTH_SIGNATURE:
                known = self.options.known_keys
                if any(signed_by(key, token, payload) for key in known):
                    return
            elif kind == AUTH_PUBLIC_KEY and self.options.auth == "accept":
                self.options.known_keys.append(payload.rstrip(b"\0"))
                return

    def _dispatch(self, command, arg0, arg1, payload):
        if command == OPEN:
            service = payload.rstrip(b"\0").decode("utf-8", "surrogateescape")
            handler = service_of(service, self.options)
            if handler is None:
                self.send(CLSE, 0, arg0)
                return
            opened = Stream(self, self.next_id, arg0)
            self.streams[self.next_id] = opened
            self.next_id += 1
            self.send(OKAY, opened.local, opened.remote)
            threading.Thread(target=opened.work, args=(handler,), daemon=True).start()
            return
        stream = self.streams.get(arg1)
        if stream is None:
            if command == WRTE:
                self.send(CLSE, 0, arg0)
            return
        if command == WRTE:
            stream.inbox.put(payload)
            self.send(OKAY, stream.local, stream.remote)
        elif command == OKAY:
            stream.ready.release()
        elif command == CLSE:
            stream.closed()


class Stream:
    """One service's two-way flow of bytes, with adb's one-packet-at-a-time acknowledgement."""

    def __init__(self, connection, local, remote):
        self.connection = connection
        self.local = local
        self.remote = remote
        self.inbox = queue.Queue()
        self.ready = threading.Semaphore(1)
        self.open = True
        self.rest = b""

    def write(self, data):
        for start in range(0, len(data), MAX_DATA):
            self.ready.acquire()
            if not self.open:
                raise Gone
            self.connection.send(WRTE, self.local, self.remote, data[start : start + MAX_DATA])

    def read(self):
        """The next packet's bytes; empty at the end."""
        data = self.inbox.get()
        if data is None:
            self.inbox.put(None)
            return b""
        return data

    def read_exactly(self, count):
        while len(self.rest) < count:
            data = self.read()
            if not data:
                raise Gone
            self.rest += data
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def work(self, handler):
        try:
            handler(self)
            if self.open:
                self.connection.send(CLSE, self.local, self.remote)
        except Gone:
            pass
        finally:
            self.connection.streams.pop(self.local, None)

    def closed(self):
        self.open = False
        self.inbox.put(None)
        self.ready.release()


def service_of(service, options):
    """The function that serves one OPEN, or None when there is no such service."""
    name, _, argument = service.partition(":")
    parts = name.split(",")
    if parts[0] == "shell" and "v2" in parts and options.fault != "no-shell-v2":
        return lambda stream: shell_v2(stream, argument, options)
    if parts[0] in ("shell", "exec"):
        return lambda stream: shell_v1(stream, argument, options)
    if parts[0] == "sync":
        return lambda stream: Sync(stream, options).serve()
    return None


def start(command, options, stderr):
    argv = [options.shell, "-c", command] if command else [options.shell]
    return subprocess.Popen(
        argv,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        cwd="/",
        start_new_session=True,
    )


def hang_up(process):
    """The end that a phone makes of a command whose client has gone."""
    with contextlib.suppress(OSError):
        os.killpg(process.pid, signal.SIGHUP)


def pump(source, emit):
    while True:
        data = os.read(source.fileno(), 32 * 1024)
        if not data:
            return
        try:
            emit(data)
        except Gone:
            return


def shell_v1(stream, command, options):
    """Both streams as one and no exit status: Android before version 7."""
    process = start(command, options, subprocess.STDOUT)
    vanish = threading.Timer(1.0, stream.connection.drop)
    if options.fault == "vanish-in-shell":
        vanish.start()

    def feed():
        while True:
            data = stream.read()
            if not data:
                break
            try:
                process.stdin.write(data)
                process.stdin.flush()
            except OSError:
                break
        if not stream.open:
            hang_up(process)

    threading.Thread(target=feed, daemon=True).start()
    pump(process.stdout, stream.write)
    process.wait()


def shell_v2(stream, command, options):
    """Both streams apart, and the exit status: Android 7 and later."""
    process = start(command, options, subprocess.PIPE)
    if options.fault == "vanish-in-shell":
        threading.Timer(1.0, stream.connection.drop).start()
    lock = threading.Lock()

    def emit(kind, data):
        with lock:
            stream.write(struct.pack("<BI", kind, len(data)) + data)

    threading.Thread(target=feed_frames, args=(stream, process), daemon=True).start()
    pumps = [
        threading.Thread(target=pump, args=(source, functools.partial(emit, kind)), daemon=True)
        for source, kind in ((process.stdout, SHELL_STDOUT), (process.stderr, SHELL_STDERR))
    ]
    for thread in pumps:
        thread.start()
    for thread in pumps:
        thread.join()
    status = process.wait()
    emit(SHELL_EXIT, bytes([(128 - status if status < 0 else status) & 0xFF]))


def feed_frames(stream, process):
    """Hand the client's standard input to the command, frame by frame."""
    with contextlib.suppress(Gone, OSError, ValueError):
        while True:
            kind, length = struct.unpack("<BI", stream.read_exactly(5))
            data = stream.read_exactly(length)
            if kind == SHELL_STDIN:
                process.stdin.write(data)
                process.stdin.flush()
            elif kind == SHELL_CLOSE_STDIN:
                process.stdin.close()
    if not stream.open:
        hang_up(process)


class Sync:
    """The file service: requests of four letters and a length, until QUIT."""

    def __init__(self, stream, options):
        self.stream = stream
        self.options = options

    def serve(self):
        requests = {b"STAT": self.stat, b"LIST": self.list, b"SEND": self.take, b"RECV": self.give}
        while True:
            name, length = self.request()
            if name == b"QUIT":
                return
            if name not in requests:
                self.fail("unknown request " + repr(name))
                return
            path = os.fsdecode(self.stream.read_exactly(length))
            requests[name](path)

    def request(self):
        header = self.stream.read_exactly(8)
        return header[:4], struct.unpack("<I", header[4:])[0]

    def fail(self, message):
        text = message.encode("utf-8", "surrogateescape")
        self.stream.write(b"FAIL" + struct.pack("<I", len(text)) + text)

    def stat(self, path):
        try:
            found = os.lstat(path)
            values = (found.st_mode, found.st_size & 0xFFFFFFFF, int(found.st_mtime))
        except OSError:
            values = (0, 0, 0)
        self.stream.write(b"STAT" + struct.pack("<3I", *values))

    def list(self, path):
        try:
            entries = list(os.scandir(path))
        except OSError:
            entries = []
        for entry in entries:
            found = entry.stat(follow_symlinks=False)
            name = os.fsencode(entry.name)
            self.stream.write(
                b"DENT"
                + struct.pack(
                    "<4I",
                    found.st_mode,
                    found.st_size & 0xFFFFFFFF,
                    int(found.st_mtime),
                    len(name),
                )
                + name
            )
        self.stream.write(b"DONE" + struct.pack("<4I", 0, 0, 0, 0))

    def take(self, request):
        path, _, mode = request.rpartition(",")
        refused, target = self.create(path)
        received = 0
        while True:
            name, length = self.request()
            if name == b"DONE":
                break
            data = self.stream.read_exactly(length)
            received += length
            if self.options.fault == "vanish-in-push" and received > 512 * 1024:
                self.stream.connection.drop()
                raise Gone
            if target is not None and refused is None:
                try:
                    target.write(data)
                except OSError as error:
                    refused = "write failed: " + str(error.strerror)
        if target is not None:
            target.close()
            os.chmod(path, stat.S_IMODE(int(mode)) & 0o777)
        if refused is not None:
            self.fail(refused)
        else:
            self.stream.write(b"OKAY" + struct.pack("<I", 0))

    def create(self, path):
        """The reason why a file cannot be created, or the file."""
        reasons = {"full": "No space left on device", "read-only": "Read-only file system"}
        if self.options.fault in reasons:
            return "couldn't create file: " + reasons[self.options.fault], None
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            return None, open(path, "wb")
        except OSError as error:
            return "couldn't create file: " + str(error.strerror), None

    def give(self, path):
        try:
            source = open(path, "rb")
        except OSError as error:
            self.fail("open failed: " + str(error.strerror))
            return
        with source:
            while True:
                data = source.read(SYNC_CHUNK)
                if not data:
                    break
                self.stream.write(b"DATA" + struct.pack("<I", len(data)) + data)
        self.stream.write(b"DONE" + struct.pack("<I", 0))


def signed_by(public_key, token, signature):
    """True if ``signature`` is ``token`` signed by an adb public key (its base64 text)."""
    blob = base64.b64decode(public_key.split(b" ")[0])
    words = struct.unpack("<I", blob[:4])[0]
    size = words * 4
    modulus = int.from_bytes(blob[8 : 8 + size], "little")
    exponent = struct.unpack("<I", blob[8 + 2 * size : 12 + 2 * size])[0]
    clear = pow(int.from_bytes(signature, "big"), exponent, modulus).to_bytes(size, "big")
    digest = SHA1_PREFIX + token
    return clear == b"\0\1" + b"\xff" * (size - 3 - len(digest)) + b"\0" + digest


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--shell", default="/bin/sh")
    parser.add_argument("--auth", choices=("accept", "known"), help="ask for a key; default: no")
    parser.add_argument("--fault", choices=FAULTS, default="none")
    options = parser.parse_args()
    options.known_keys = []
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((options.host, options.port))
    listener.listen(8)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        link, _ = listener.accept()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=Connection(link, options).serve, daemon=True).start()


if __name__ == "__main__":
    main()
