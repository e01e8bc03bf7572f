"""Small servers that answer as told, for what the emulator does not do."""

import contextlib
import http.client
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@contextlib.contextmanager
def canned(*answers, then=None, seen=None):
    """Serve each answer `(status, headers, body)` once, in order; then pass on to an emulator, or repeat the last one.

    What is only looked up (GET) is passed on at once where there is an emulator.

    Yields the base URL. `seen` collects `(path, headers)` of every request.
    """
    left = list(answers)
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            with lock:
                if seen is not None:
                    seen.append((self.path, dict(self.headers.items())))
                is_asked = self.command == "POST" or then is None
                answer = (left[0] if then is None and len(left) == 1 else left.pop(0)) if left and is_asked else None
            status, headers, payload = answer if answer is not None else self._passed_on(body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(payload)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(payload)

        do_GET = do_POST  # noqa: N815 - http.server's name

        def _passed_on(self, body):
            target = urlsplit(then.url)
            connection = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
            kept = {name: self.headers[name] for name in ("authorization", "content-type") if name in self.headers}
            connection.request(self.command, self.path, body=body, headers=kept)
            response = connection.getresponse()
            payload = response.read()
            connection.close()
            wanted = {"content-type", "cf-ai-neurons", "retry-after"}
            return response.status, {k: v for k, v in response.getheaders() if k.lower() in wanted}, payload

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/client/v4"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Wire:
    """One request as it lies on a socket, and what may be done about it."""

    def __init__(self, connection, head, body, then):
        self.connection, self.head, self.body, self._then = connection, head, body, then

    def send(self, raw):
        self.connection.sendall(raw)

    def reply(self, body, *, status="200 OK", headers="connection: close\r\n", kind="application/json"):
        """Send a whole answer; `headers` are lines, each with its line end."""
        length = f"content-length: {len(body)}\r\n"
        self.send(f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{headers}{length}\r\n".encode() + body)

    def honest(self):
        """What the emulator answers: `(status, headers, body)`."""
        line, _, rest = self.head.partition(b"\r\n")
        method, path, _ = line.decode().split(" ")
        sent = dict(header.split(": ", 1) for header in rest.decode("latin-1").split("\r\n") if header)
        kept = {name: value for name, value in sent.items() if name.lower() in {"authorization", "content-type"}}
        target = urlsplit(self._then.url)
        asked = http.client.HTTPConnection(target.hostname, target.port, timeout=30)
        asked.request(method, path, body=self.body, headers=kept)
        response = asked.getresponse()
        answer = response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        asked.close()
        return answer


@contextlib.contextmanager
def wild(then, answer):
    """Serve below HTTP: `answer(wire)` does as it likes with each request, and returns True for the honest answer.

    Yields the base URL. A request that got no honest answer ends its connection.
    """
    over = threading.Event()

    def serve(connection):
        with connection, contextlib.suppress(OSError, ValueError):
            held = b""
            while True:
                while b"\r\n\r\n" not in held:
                    held += _received(connection)
                head, _, held = held.partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                while len(held) < (int(length[1]) if length else 0):
                    held += _received(connection)
                wire = Wire(connection, head, held, then)
                held = b""
                if not answer(wire):
                    return
                status, headers, body = wire.honest()
                kept = "".join(f"{k}: {headers[k]}\r\n" for k in ("cf-ai-neurons", "x-simulated") if k in headers)
                wire.reply(body, status=f"{status} X", headers=kept)

    def listen():
        while not over.is_set():
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(30)
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/client/v4"
        finally:
            over.set()
            thread.join()


def _received(connection):
    if chunk := connection.recv(1 << 16):
        return chunk
    raise OSError("closed")
