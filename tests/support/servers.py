"""Small servers that answer as told, for what the emulator does not do."""

import contextlib
import http.client
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
