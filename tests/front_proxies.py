# SPDX-License-Identifier: Apache-2.0
"""nginx and HAProxy before an HTTP server, as installations have them: kept-alive connections to the server, shared by
clients. `passed()` tells which requests a proxy believes it has passed on."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from servers import Server, free_port, program, tcp_open


class Proxy(Server):
    """A proxy before 127.0.0.1:`backend`."""

    def __init__(self, directory: Path, backend: int) -> None:
        super().__init__(directory)
        self.backend = backend
        self.port = free_port()

    def ready(self) -> bool:
        return tcp_open(self.port)

    def passed(self) -> list[str]:
        """Paths of the requests passed on so far, in the order of their ends. To be asked often: a proxy may keep only
        a few that nobody has asked for."""
        raise NotImplementedError


class Nginx(Proxy):
    name = "nginx"

    def prepare(self) -> None:
        here = self.directory
        user = "user root;\n" if os.geteuid() == 0 else ""
        (here / "nginx.conf").write_text(
            f"daemon off;\nmaster_process off;\npid {here}/pid;\nerror_log {here}/error.log;\n{user}"
            "events { worker_connections 64; }\n"
            "http {\n"
            "  log_format passed '$upstream_status $request_uri';\n"
            f"  access_log {here}/access.log passed;\n"
            + "".join(f"  {kind}_temp_path {here}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi",
                                                                          "scgi"))
            + f"  upstream api {{ server 127.0.0.1:{self.backend}; keepalive 4; }}\n"
            "  server {\n"
            f"    listen 127.0.0.1:{self.port};\n"
            "    underscores_in_headers on;\n"
            "    ignore_invalid_headers off;\n"
            "    merge_slashes off;\n"
            "    location / {\n"
            "      proxy_pass http://api;\n"
            "      proxy_http_version 1.1;\n"
            "      proxy_request_buffering off;\n"
            "      proxy_set_header Connection '';\n"
            "      proxy_set_header Host $http_host;\n"
            "    }\n  }\n}\n"
        )  # fmt: skip

    def command(self) -> list[str]:
        return [program("nginx"), "-p", str(self.directory), "-c", str(self.directory / "nginx.conf")]

    def passed(self) -> list[str]:
        lines = (self.directory / "access.log").read_text().splitlines()
        return [path for status, _, path in (line.partition(" ") for line in lines) if status[:1].isdigit()]


class HAProxy(Proxy):
    name = "haproxy"

    def __init__(self, directory: Path, backend: int) -> None:
        super().__init__(directory, backend)
        self.log_socket = directory / "log.sock"
        self._lines: list[str] = []
        self._log: socket.socket | None = None

    def prepare(self) -> None:
        (self.directory / "haproxy.cfg").write_text(
            f"global\n  log {self.log_socket} len 65535 format raw local0\n"
            "defaults\n  mode http\n  log global\n  timeout connect 20s\n  timeout client 20s\n  timeout server 20s\n"
            "  option http-keep-alive\n  http-reuse always\n"
            f"frontend front\n  bind 127.0.0.1:{self.port}\n  option accept-invalid-http-request\n"
            "  log-format '%[bc_src_port] %HU'\n  default_backend api\n"
            f"backend api\n  server api 127.0.0.1:{self.backend}\n"
        )

    def start(self) -> None:
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(self.log_socket))
        self._log.setblocking(False)
        super().start()

    def stop(self) -> None:
        super().stop()
        if self._log is not None:
            self._log.close()
            self._log = None

    def command(self) -> list[str]:
        return [program("haproxy"), "-db", "-f", str(self.directory / "haproxy.cfg")]

    def passed(self) -> list[str]:
        assert self._log is not None
        try:
            while True:
                self._lines.append(self._log.recv(1 << 17).decode("latin-1").strip())
        except BlockingIOError:
            pass
        return [path for port, _, path in (line.partition(" ") for line in self._lines) if port.isdigit()]
