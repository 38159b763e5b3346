"""A receiver that drains and answers: nginx, the machine's own or Debian's, as the tests have it.

It answers a PUT as S3 (200) or, below `/azure`, as Azure Blob (201) does, and a POST with 200. Nothing is kept, so what is
measured is the sender; who reads an object is refused in a store's words, as by one that may only be written to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.databases import folder, free_port, libraries
from tests.ways import programs, running

NGINX = """
daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_max_body_size 0; keepalive_requests 1000000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    add_header ETag '"d41d8cd98f00b204e9800998ecf8427e"' always;
    location /azure {{
      add_header ETag '"0x8D4BCC2E4835CD0"' always;
      add_header Last-Modified 'Mon, 05 Jan 2026 00:00:00 GMT' always;
      if ($request_method = GET) {{ return 403 '{denied}'; }}
      return 201;
    }}
    location = / {{ return 200; }}
    location / {{
      if ($request_method = GET) {{ return 403 '{denied}'; }}
      return 200;
    }}
  }}
}}
"""


DENIED = '<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>write only</Message></Error>'


@contextmanager
def null_receiver() -> Iterator[tuple[str, str]]:
    """Start the receiver; give its URL and its name."""
    port, program = free_port(), programs().nginx
    with folder() as home:
        (home / "nginx.conf").write_text(NGINX.format(folder=home, port=port, denied=DENIED))
        (home / "nginx.conf").chmod(0o644)
        command = [str(program), "-p", str(home), "-e", str(home / "error.log"), "-c", str(home / "nginx.conf")]
        with running(command, port, home / "log", libraries(program)):
            yield f"http://127.0.0.1:{port}", "nginx"
