# SPDX-License-Identifier: Apache-2.0
"""An OpenID Connect provider on loopback, made of Authlib: discovery, keys, the grants that clients use, introspection
and userinfo, over a real socket. It can be stopped, rotate its keys, and sign whatever a test wants signed."""

from __future__ import annotations

import json
import secrets
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc6749.models import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, redirect, request
from joserfc import jwt
from joserfc.jwk import ECKey, Key, RSAKey
from werkzeug.serving import WSGIRequestHandler, make_server

CLIENT, SECRET = "aerie", "cl1ent-secret"


@dataclass
class User:
    """Somebody the provider knows."""

    sub: str
    password: str
    claims: dict[str, Any] = field(default_factory=dict)

    def get_user_id(self) -> str:
        return self.sub


class Client(ClientMixin):
    """This cloud, as the provider knows it."""

    client_id = CLIENT

    def get_client_id(self) -> str:
        return CLIENT

    def get_default_redirect_uri(self) -> str | None:
        return None

    def get_allowed_scope(self, scope: str) -> str:
        return scope or "openid"

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri.startswith(("http://127.0.0.1", "http://localhost"))

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type in ("authorization_code", "password", "client_credentials")


@dataclass
class Code(AuthorizationCodeMixin):
    """An authorization code that was handed out."""

    code: str
    user: User
    redirect_uri: str
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None

    def get_redirect_uri(self) -> str:
        return self.redirect_uri

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return int(time.time())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class Provider:
    """A running provider. asked: how often each path was asked for."""

    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self.codes: dict[str, Code] = {}
        self.opaque: dict[str, dict[str, Any]] = {}
        self.asked: dict[str, int] = {}
        self.broken: set[str] = set()
        self.issuer = ""
        self.keys: list[Key] = []
        self.rotate()
        self._app = _application(self)
        self._server: Any = None
        self.port = 0
        self.start()

    # -- running

    def start(self) -> None:
        self._server = make_server("127.0.0.1", self.port, self._app, threaded=True, request_handler=Quiet)
        self.port = self._server.server_port
        self.issuer = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    # -- keys and tokens

    def rotate(self, kind: str = "RSA") -> None:
        """A new key signs; the old ones are published no longer."""
        parameters = {"kid": secrets.token_hex(4), "use": "sig"}
        made: Key = RSAKey.generate_key(2048, parameters) if kind == "RSA" else ECKey.generate_key("P-256", parameters)
        self.keys = [made]

    @property
    def algorithm(self) -> str:
        return "RS256" if isinstance(self.keys[0], RSAKey) else "ES256"

    def add_user(self, sub: str, **claims: Any) -> User:
        self.users[sub] = User(sub, f"{sub}-password", claims)
        return self.users[sub]

    def claims(self, sub: str, /, **changes: Any) -> dict[str, Any]:
        """What an id token says; None takes a claim away."""
        now = int(time.time())
        known = self.users[sub].claims if sub in self.users else {}
        found = {"iss": self.issuer, "aud": CLIENT, "sub": sub, "iat": now, "exp": now + 300, **known, **changes}
        return {name: value for name, value in found.items() if value is not None}

    def token(
        self, sub: str, /, *, key: Key | None = None, header: dict[str, Any] | None = None, **changes: Any
    ) -> str:
        """A signed token with any header and claims."""
        signer = key or self.keys[0]
        head = {"alg": self.algorithm, "kid": signer.kid, "typ": "JWT", **(header or {})}
        head = {name: value for name, value in head.items() if value is not None}
        return jwt.encode(head, self.claims(sub, **changes), signer, algorithms=[head["alg"]])

    def opaque_token(self, sub: str, **changes: Any) -> str:
        """A token that only introspection explains."""
        token = secrets.token_urlsafe(24)
        self.opaque[token] = self.claims(sub, client_id=CLIENT, **changes)
        return token


def _application(provider: Provider) -> Flask:
    app = Flask("provider")
    server = AuthorizationServer(app, lambda id: Client() if id == CLIENT else None, lambda token, request: None)

    def access_token(client: Client, grant_type: str, user: User | None = None, scope: str | None = None, **_: Any
                     ) -> dict[str, Any]:  # fmt: skip
        """Access tokens are JWTs, as most providers make them."""
        token = provider.token(user.sub if user else CLIENT, header={"typ": "at+jwt"}, scope=scope, azp=CLIENT)
        made = {"token_type": "Bearer", "access_token": token, "expires_in": 300, "scope": scope or "openid"}
        if grant_type == "password" and user:
            made["id_token"] = provider.token(user.sub)
        return made

    server.register_token_generator("default", access_token)

    class Password(ResourceOwnerPasswordCredentialsGrant):
        def authenticate_user(self, username: str, password: str) -> User | None:
            user = provider.users.get(username)
            return user if user is not None and user.password == password else None

    class AuthorizationCode(AuthorizationCodeGrant):
        TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]

        def save_authorization_code(self, code: str, request: Any) -> None:
            sent = request.payload.data
            provider.codes[code] = Code(
                code, request.user, request.payload.redirect_uri, request.payload.scope or "openid", sent.get("nonce"),
                sent.get("code_challenge"), sent.get("code_challenge_method"),
            )  # fmt: skip

        def query_authorization_code(self, code: str, client: Client) -> Code | None:
            return provider.codes.get(code)

        def delete_authorization_code(self, authorization_code: Code) -> None:
            del provider.codes[authorization_code.code]

        def authenticate_user(self, authorization_code: Code) -> User:
            return authorization_code.user

    class IdToken(OpenIDCode):
        def exists_nonce(self, nonce: str, request: Any) -> bool:
            return False

        def encode_id_token(self, token: dict[str, Any], request: Any) -> str:
            return provider.token(request.user.sub, nonce=request.authorization_code.nonce)

    class Introspection(IntrospectionEndpoint):
        CLIENT_AUTH_METHODS = ["client_secret_basic"]

        def check_permission(self, token: Any, client: Client, request: Any) -> bool:
            return True

        def query_token(self, token_string: str, token_type_hint: str | None) -> Opaque | None:
            found = provider.opaque.get(token_string)
            return None if found is None else Opaque(found)

        def introspect_token(self, token: Opaque) -> dict[str, Any]:
            return {"active": True, **token.claims}

    server.register_grant(Password)
    server.register_grant(ClientCredentialsGrant)
    server.register_grant(AuthorizationCode, [IdToken(require_nonce=False), CodeChallenge(required=False)])
    server.register_endpoint(Introspection)

    @app.before_request
    def count() -> tuple[str, int] | None:
        provider.asked[request.path] = provider.asked.get(request.path, 0) + 1
        return ("broken", 500) if request.path in provider.broken else None

    @app.get("/.well-known/openid-configuration")
    def discovery() -> Any:
        base = provider.issuer
        return jsonify({
            "issuer": base, "jwks_uri": f"{base}/keys", "authorization_endpoint": f"{base}/authorize",
            "token_endpoint": f"{base}/token", "introspection_endpoint": f"{base}/introspect",
            "userinfo_endpoint": f"{base}/userinfo", "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "password", "client_credentials"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        })  # fmt: skip

    @app.get("/keys")
    def keys() -> Any:
        return jsonify({"keys": [key.as_dict(private=False) for key in provider.keys]})

    @app.get("/authorize")
    def authorize() -> Any:
        """Whoever `login_hint` names has consented already."""
        user = provider.users.get(request.args.get("login_hint", "")) or next(iter(provider.users.values()))
        grant = server.get_consent_grant(end_user=user)
        return server.create_authorization_response(grant_user=user, grant=grant)

    @app.post("/token")
    def token() -> Any:
        return server.create_token_response()

    @app.post("/introspect")
    def introspect() -> Any:
        return server.create_endpoint_response(Introspection.ENDPOINT_NAME)

    @app.get("/userinfo")
    def userinfo() -> Any:
        shown = request.headers.get("Authorization", "").removeprefix("Bearer ")
        sub = jwt.decode(shown, provider.keys[0], algorithms=["RS256", "ES256"]).claims["sub"]
        return Response(json.dumps({"sub": sub, "nickname": f"{sub}-nick"}), content_type="application/json")

    @app.get("/elsewhere")
    def elsewhere() -> Any:
        return redirect("/keys")

    return app


@dataclass
class Opaque:
    """A token in the shape Authlib's introspection wants. It leaves judging the expiry to whoever asks."""

    claims: dict[str, Any]

    def is_expired(self) -> bool:
        return False

    def is_revoked(self) -> bool:
        return False


class Quiet(WSGIRequestHandler):
    """Writes no access log."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        return None
