"""Runs nginx and Caddy with the configurations in deploy/proxy, changed only in where they listen, and
sees what comes through.

    python proxies.py FOLDER NGINX CADDY
"""

import http.client
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MOST = 4 << 20
PATIENCE = 20


class Service(BaseHTTPRequestHandler):
    """In place of cxone-sync: takes everything, and remembers it."""

    protocol_version = "HTTP/1.1"
    came = []

    def do_POST(self):
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length is not None else None
        if body is not None and len(body) < int(length):
            # Cut off on the way, as cxone-sync does not take it either.
            self.close_connection = True
            return
        self.came.append((self.command, self.path, body))
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_DELETE = do_PUT = do_POST

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def replaced(text, changes):
    for old, new in changes:
        assert old in text, f"{old!r} is not in the configuration any more"
        text = text.replace(old, new)
    return text


def nginx(program, folder, conf, plain, secure, upstream):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost",
         "-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"],
        check=True, capture_output=True,
    )
    site = replaced(conf.read_text(), [
        ("127.0.0.1:8080", f"127.0.0.1:{upstream}"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("    listen [::]:80;\n", ""),
        ("listen 443 ssl", f"listen 127.0.0.1:{secure} ssl"),
        ("    listen [::]:443 ssl http2;\n", ""),
        ("/etc/letsencrypt/live/sync.example.com", str(folder)),
    ])
    (folder / "site.conf").write_text(site)
    kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    paths = "".join(f"{name}_temp_path {folder}/{name};\n" for name in kept)
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{paths}include {folder}/site.conf;\n}}\n"
    )
    call = [program, "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"]
    subprocess.run([*call, "-t", "-q"], check=True)
    return call, {}


def caddy(program, folder, conf, plain, secure, upstream):
    ours = replaced(conf.read_text(), [
        ("\tadmin off\n", f"\tadmin off\n\tskip_install_trust\n\thttp_port {plain}\n\thttps_port {secure}\n"),
    ])
    (folder / "Caddyfile").write_text(ours)
    call = [program, "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]
    environment = {
        "CXONE_SYNC_HOST": "localhost", "CXONE_SYNC_UPSTREAM": f"127.0.0.1:{upstream}",
        "HOME": str(folder), "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder),
    }
    # As it is, and by the environment it has without one.
    alone = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    subprocess.run([program, "validate", "--adapter", "caddyfile", "--config", conf], check=True,
                   capture_output=True, env=alone)
    shown = subprocess.run([program, "fmt", "--diff", conf], capture_output=True, text=True)
    assert shown.returncode == 0, f"{conf} is not formatted:\n{shown.stdout}"
    return call, environment


def ask(secure, method, path, body=None, version=None):
    context = ssl._create_unverified_context()
    if version:
        context.minimum_version = context.maximum_version = version
    connection = http.client.HTTPSConnection("localhost", secure, timeout=PATIENCE, context=context)
    try:
        connection.request(method, path, body)
        return connection.getresponse().status
    except (BrokenPipeError, ConnectionResetError):
        # Refused before all of it was sent.
        return 413
    finally:
        connection.close()


def check(name, prepare, program, conf, upstream):
    plain, secure = free_port(), free_port()
    with tempfile.TemporaryDirectory() as folder:
        call, environment = prepare(program, Path(folder), conf, plain, secure, upstream)
        log = open(Path(folder) / "log", "w+")
        running = subprocess.Popen(call, env=os.environ | environment, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + PATIENCE
            while True:
                try:
                    ask(secure, "GET", "/")
                    break
                except OSError:
                    if running.poll() is not None or time.monotonic() > deadline:
                        log.seek(0)
                        raise SystemExit(f"{name} does not come up:\n{log.read()}")
                    time.sleep(0.05)
            passes(name, secure)
        finally:
            running.terminate()
            running.wait(PATIENCE)
            log.close()


def passes(name, secure):
    came = Service.came

    def through(method, path, body, version=None):
        came.clear()
        status = ask(secure, method, path, body, version)
        assert (status, came) == (202, [(method, path, body)]), f"{name}: {method} {path}: {status}, {len(came)} came"

    def stopped(method, path, body, statuses):
        came.clear()
        status = ask(secure, method, path, body)
        assert status in statuses and not came, f"{name}: {method} {path}: {status}, and {came!r:.200} came through"

    for version in [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]:
        through("POST", "/notifications", b'{"value": []}', version)
    through("POST", "/lifecycle", b'{"value": []}')
    # The handshake: the token as Graph wrote it, and no body.
    through("POST", "/notifications?validationToken=Validation%3a+a%2Bb%20c", b"")
    through("POST", "/notifications", b"x" * MOST)
    stopped("POST", "/notifications", b"x" * (MOST + 1), {413})
    for method in ["GET", "PUT", "DELETE"]:
        stopped(method, "/notifications", b"", {403, 404, 405})
    for path in ["/", "/metrics", "/readyz", "/status", "/api/v1/reload", "/notifications/x", "/notificationsx",
                 "/lifecycle/../metrics", "/.well-known/acme-challenge/../../metrics"]:
        stopped("POST", path, b"{}", {400, 404, 405})
    print(f"{name}: only notifications come through")


def main(folder, nginx_program, caddy_program):
    service = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    threading.Thread(target=service.serve_forever, daemon=True).start()
    upstream = service.server_address[1]
    check("nginx", nginx, nginx_program, folder / "nginx.conf", upstream)
    check("Caddy", caddy, caddy_program, folder / "Caddyfile", upstream)


main(Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3])
