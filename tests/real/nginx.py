"""nginx with the configuration of docs/deployment.md, on free loopback ports."""

import re
from collections.abc import Mapping
from pathlib import Path

from tests.real.certificates import Paths
from tests.real.components import program
from tests.real.processes import Server, accepts_connections, free_port

# What a distribution's own nginx.conf has around what is in conf.d; all files in our folder.
AROUND = """
user root;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    include /etc/nginx/mime.types;
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
{configuration}
}}
"""


class Nginx(Server):
    """A proxy for https://localhost:``port``; plain http is at ``plain_port``."""

    def __init__(
        self,
        folder: Path,
        configuration: str,
        certificate: Paths,
        replacements: Mapping[str, str],
    ) -> None:
        """Take the folder of all files, and what the page has, for what is to stand there.

        Raises ``ComponentMissing``.
        """
        self.port, self.plain_port = free_port(), free_port()
        self.origin = f"https://localhost:{self.port}"
        everywhere = {
            "listen 80": f"listen 127.0.0.1:{self.plain_port}",
            "listen 443": f"listen 127.0.0.1:{self.port}",
            "server_name app.example": "server_name localhost",
            "/etc/ssl/app.example.crt": str(certificate[0]),
            "/etc/ssl/app.example.key": str(certificate[1]),
            **replacements,
        }
        for written, real in everywhere.items():
            assert written in configuration, written
            configuration = configuration.replace(written, real)
        file = folder / f"nginx-{self.port}.conf"
        file.write_text(AROUND.format(folder=folder, configuration=configuration))
        super().__init__(
            "nginx",
            [program("nginx"), "-c", file, "-p", folder, "-g", "daemon off;"],
            folder=folder,
            ready=lambda: accepts_connections(self.port),
        )


def block(page: str, first_line: str) -> str:
    """Return the page's block of nginx's configuration that begins with that comment."""
    [found] = re.findall(rf"```nginx\n *# {re.escape(first_line)}\n(.*?)```", page, re.DOTALL)
    return str(found)
