"""Small stand-ins for origin and POP, run as real processes: `python -m tests.core.host.children PORT BEHAVIOUR`."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer


class Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its parent's name
        pass


def main() -> None:
    port, behaviour = int(sys.argv[1]), sys.argv[2]
    print(f"child {behaviour} begins", flush=True)
    if behaviour == "mistake":
        sys.exit(2)
    if behaviour == "silent":
        time.sleep(60)
    if behaviour == "stubborn":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if behaviour == "parent":
        worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(f"worker {worker.pid}", flush=True)
    if behaviour == "long":
        sys.stdout.write("x" * 100_000 + "\nnot utf-8: ")
        sys.stdout.flush()
        sys.stdout.buffer.write(b"\xff\n")
        sys.stdout.flush()
    server = HTTPServer(("127.0.0.1", port), Healthy)
    if behaviour == "short":
        threading.Timer(0.5, server.shutdown).start()
    server.serve_forever(poll_interval=0.05)


if __name__ == "__main__":
    main()
