# SPDX-License-Identifier: Apache-2.0
"""Options of the identity service, under Keystone's names."""

from __future__ import annotations

from oslo_config import cfg, types

IDENTITY: list[cfg.Opt] = [
    cfg.StrOpt("default_domain_id", default="default", help="Domain of names that come without one."),
    cfg.StrOpt(
        "password_hash_algorithm", default="bcrypt", choices=["bcrypt", "scrypt", "argon2"], help="Of new passwords."
    ),
    cfg.IntOpt("password_hash_rounds", min=4, max=31, default=12, help="Cost of bcrypt: each step doubles it."),
    cfg.IntOpt("scrypt_log2_n", min=10, max=20, default=14, help="Cost of scrypt: log2 of its N."),
    cfg.IntOpt("secret_cache_seconds", default=60, min=0, help="How long a verified secret is remembered."),
    cfg.IntOpt("max_password_length", default=4096, min=1, help="Characters; longer ones are refused."),
    cfg.IntOpt("list_limit", min=1, help="Longest answer of a list call; longer ones are marked as truncated."),
    cfg.IntOpt(
        "directory_refresh_interval",
        default=30,
        min=1,
        help="Seconds after which users gone from an LDAP directory have lost their tokens.",
    ),
    cfg.IntOpt("max_project_tree_depth", default=5, min=1, max=9, help="Levels of projects below a domain."),
]
TOKEN: list[cfg.Opt] = [
    cfg.StrOpt("provider", default="fernet", choices=["fernet", "jws"], help="Form of tokens."),
    cfg.IntOpt("expiration", default=3600, min=1, help="Seconds a token is valid."),
    cfg.BoolOpt("allow_rescope_scoped_token", default=True, help="May a scoped token be exchanged for another scope?"),
]
FERNET: list[cfg.Opt] = [
    cfg.StrOpt(
        "key_repository", default="$state_path/identity/fernet-keys", help="Folder of the keys that seal tokens."
    ),
    cfg.IntOpt("max_active_keys", default=3, min=1, help="Keys kept there; a rotation drops the oldest."),
]
JWS: list[cfg.Opt] = [
    cfg.StrOpt(
        "jws_private_key_repository",
        default="$state_path/identity/jws-keys/private",
        help="Folder of the key that signs.",
    ),
    cfg.StrOpt(
        "jws_public_key_repository", default="$state_path/identity/jws-keys/public", help="Of those that verify."
    ),
]
CREDENTIAL: list[cfg.Opt] = [
    cfg.StrOpt("key_repository", default="$state_path/identity/credential-keys", help="Folder of the keys."),
    cfg.IntOpt("auth_ttl", default=15, min=1, help="Minutes a signed EC2 request may be old."),
    cfg.IntOpt("user_limit", default=-1, min=-1, help="Credentials one user may have; -1: any number."),
]
AUTH: list[cfg.Opt] = [
    cfg.ListOpt(
        "methods",
        default=["password", "token", "application_credential", "totp", "mapped"],
        help="Ways to log in that are allowed.",
    ),
    cfg.IntOpt("receipt_expiration", default=300, min=1, help="Seconds between two factors of one login."),
]
TOTP: list[cfg.Opt] = [
    cfg.IntOpt("included_previous_windows", default=1, min=0, max=10, help="Older passcodes that are accepted."),
]
TRUST: list[cfg.Opt] = [
    cfg.BoolOpt("allow_redelegation", default=False, help="May a trustee pass a trust on?"),
    cfg.IntOpt("max_redelegation_count", default=3, min=0, help="How often a trust may be passed on."),
]
APPLICATION_CREDENTIAL: list[cfg.Opt] = [cfg.IntOpt("user_limit", default=-1, min=-1, help="Per user; -1: any number.")]
UNIFIED_LIMIT: list[cfg.Opt] = [
    cfg.StrOpt(
        "enforcement_model", default="flat", choices=["flat", "strict_two_level"], help="How limits add up in a tree."
    ),
]
EC2: list[cfg.Opt] = [cfg.BoolOpt("enabled", default=False, help="Answer ec2tokens and s3tokens.")]
SECURITY: list[cfg.Opt] = [
    cfg.IntOpt("lockout_failure_attempts", min=1, help="Wrong passwords until a user is locked out; unset: never."),
    cfg.IntOpt("lockout_duration", min=1, default=1800, help="Seconds of a lockout."),
    cfg.IntOpt("password_expires_days", min=1, help="Days a password is good for (default: for ever)."),
    cfg.IntOpt("unique_last_password_count", min=0, default=0, help="Former passwords that must not be used again."),
    cfg.IntOpt("minimum_password_age", min=0, default=0, help="Days before a user may change a password again."),
    cfg.StrOpt("password_regex", help="What a password must match."),
    cfg.StrOpt("password_regex_description", default="", help="The same in words, for those who are refused."),
    cfg.IntOpt(
        "disable_user_account_days_inactive", min=1, help="Days without a login that disable a user (default: none)."
    ),
    cfg.BoolOpt(
        "change_password_upon_first_use", default=False, help="Must a password that an administrator set be changed?"
    ),
    cfg.IntOpt("failed_login_delay", default=0, min=0, help="Milliseconds added to each refused login."),
]

FEDERATION: list[cfg.Opt] = [
    cfg.ListOpt("openid_protocols", default=["openid"], help="Protocols that are OpenID Connect."),
    cfg.ListOpt("trusted_dashboard", default=[], help="Addresses that a browser may be sent to with its token."),
    cfg.IntOpt(
        "default_authorization_ttl", default=0, min=0,
        help="Minutes that the groups of a login last, where its identity provider says nothing else; never less "
        "than the token of that login.",
    ),
]  # fmt: skip
_ASYMMETRIC = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
OIDC: list[cfg.Opt] = [
    cfg.StrOpt("client_id", help="Name of this cloud at the identity provider."),
    cfg.StrOpt("client_secret", secret=True, help="Its secret: for logins in the browser and for introspection."),
    cfg.ListOpt("audiences", default=[], help="Whom a token may be for (default: client_id)."),
    cfg.ListOpt(
        "algorithms", default=["RS256", "PS256", "ES256", "EdDSA"],
        item_type=types.String(choices=_ASYMMETRIC), help="Signatures that are accepted.",
    ),
    cfg.IntOpt("leeway", default=30, min=0, max=300, help="Seconds that clocks may differ."),
    cfg.BoolOpt("introspection", default=False, help="Ask the identity provider about tokens that are no JWT."),
    cfg.BoolOpt("userinfo", default=False, help="Ask the identity provider for further claims about the user."),
    cfg.StrOpt("scope", default="openid profile email", help="What logins in the browser ask for."),
    cfg.BoolOpt("allow_http", default=False, help="Accept identity providers that do not speak TLS."),
    cfg.StrOpt("cafile", help="CA certificates for identity providers (default: those of the system)."),
    cfg.IntOpt("timeout", default=5, min=1, help="Seconds an identity provider has for an answer."),
    cfg.IntOpt("keys_seconds", default=300, min=1, help="How long an identity provider's keys are remembered."),
    cfg.IntOpt("keys_pause", default=5, min=0, help="Seconds between two looks for a key that is not known."),
]  # fmt: skip

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    ("identity", IDENTITY),
    ("token", TOKEN),
    ("fernet_tokens", FERNET),
    ("jwt_tokens", JWS),
    ("credential", CREDENTIAL),
    ("auth", AUTH),
    ("totp", TOTP),
    ("trust", TRUST),
    ("application_credential", APPLICATION_CREDENTIAL),
    ("unified_limit", UNIFIED_LIMIT),
    ("ec2", EC2),
    ("federation", FEDERATION),
    ("oidc", OIDC),
    ("security_compliance", SECURITY),
)
