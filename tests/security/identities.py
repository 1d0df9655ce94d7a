"""An issuer of identity tokens on this machine: keys of its own, and a server of its JWKS."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

_make_key = cache(lambda _: rsa.generate_private_key(public_exponent=65537, key_size=2048))

AUDIENCE = "https://service.example"
ACCOUNT = "push@demo-project.iam.gserviceaccount.com"


@dataclass(slots=True)
class Issuer:
    """
    What the server says of the issuer's keys.

    Attributes:
        status: What it answers instead of the keys, where it is not 200.
        fetches: How often it was asked.
        answering: While it is not set, the server says nothing.
    """

    url: str = ""
    status: int = 200
    body: bytes | None = None
    fetches: int = 0
    keys: dict[str, rsa.RSAPrivateKey] = field(default_factory=dict)
    answering: threading.Event = field(default_factory=threading.Event)

    def add_key(self, key_id: str) -> None:
        """Announce another key."""
        self.keys[key_id] = _make_key(key_id)

    def jwks(self) -> bytes:
        """Return the public keys, as Google publishes them."""
        return json.dumps(
            {
                "keys": [
                    json.loads(RSAAlgorithm.to_jwk(key.public_key()))
                    | {"kid": key_id, "use": "sig", "alg": "RS256"}
                    for key_id, key in self.keys.items()
                ]
            }
        ).encode()

    def sign(
        self,
        *,
        key_id: str = "first",
        key: Any = None,
        algorithm: str = "RS256",
        headers: dict[str, Any] | None = None,
        without: str = "",
        **claims: Any,
    ) -> str:
        """Return a token, good but for what is given."""
        now = int(time.time())
        good = {
            "iss": "https://accounts.google.com",
            "aud": AUDIENCE,
            "sub": "1234567890",
            "email": ACCOUNT,
            "email_verified": True,
            "iat": now,
            "exp": now + 3600,
        } | claims
        good.pop(without, None)
        return jwt.encode(
            good,
            self.keys[key_id] if key is None else key,
            algorithm=algorithm,
            headers={"kid": key_id} | (headers or {}),
        )


@contextmanager
def local_issuer() -> Iterator[Issuer]:
    """Serve the keys of an issuer that has one."""
    issuer = Issuer()
    issuer.add_key("first")
    issuer.answering.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.fetches += 1
            issuer.answering.wait(60)
            body = issuer.jwks() if issuer.body is None else issuer.body
            self.send_response(issuer.status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        serving.start()
        issuer.url = f"http://127.0.0.1:{server.server_address[1]}/certs"
        try:
            yield issuer
        finally:
            issuer.answering.set()
            server.shutdown()
