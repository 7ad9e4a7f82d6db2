"""A token endpoint over https: credentials in, tokens out: signed, or unsigned as most listeners here take them."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs

from tests.secured.certificates import LOOPBACK, Authority


class TokenEndpoint:
    """Runs in a thread; `secrets` are the known clients, `asked` the scopes that were asked for and `issued` the
    tokens, in order."""

    def __init__(
        self,
        authority: Authority,
        secrets: Mapping[str, str],
        *,
        seconds: int = 3600,
        sign: Callable[[Mapping[str, object]], str] | None = None,
    ) -> None:
        self._authority = authority
        self._sign = sign or _leave_unsigned
        self.secrets = dict(secrets)
        self.seconds = seconds
        self.asked: list[str] = []
        self.issued: list[str] = []
        pair = authority.issue("token-endpoint", names=LOOPBACK)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self._server.server_address[1]}/token"

    def client(self, client_id: str) -> dict[str, str]:
        """A Java client's properties for getting tokens here."""
        return {
            "sasl.mechanism": "OAUTHBEARER",
            "sasl.oauthbearer.token.endpoint.url": self.url,
            "sasl.oauthbearer.client.credentials.client.id": client_id,
            "sasl.oauthbearer.client.credentials.client.secret": self.secrets[client_id],
            "https.ca.location": str(self._authority.certificate),
        }

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, authorization: str, form: Mapping[str, list[str]]) -> tuple[int, dict[str, object]]:
        kind, _, told = authorization.partition(" ")
        client, _, secret = base64.b64decode(told).decode().partition(":")
        if kind != "Basic" or self.secrets.get(client) != secret:
            return 401, {"error": "invalid_client", "error_description": f"not {secret}"}
        if form.get("grant_type") != ["client_credentials"]:
            return 400, {"error": "unsupported_grant_type"}
        self.asked.append(form.get("scope", [""])[0])
        now = time.time()
        claims = {"sub": client, "iat": int(now), "exp": int(now) + self.seconds}
        token = self._sign(claims)
        self.issued.append(token)
        return 200, {"access_token": token, "token_type": "Bearer", "expires_in": self.seconds}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                status, answer = endpoint.answer(self.headers.get("Authorization", ""), parse_qs(body))
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_arguments: object) -> None:
                pass

        return Handler


def _leave_unsigned(claims: Mapping[str, object]) -> str:
    return f"{_part({'alg': 'none'})}.{_part(claims)}."


def _part(claims: Mapping[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
