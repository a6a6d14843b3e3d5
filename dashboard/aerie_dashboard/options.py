# SPDX-License-Identifier: Apache-2.0
"""Options of the dashboard."""

from oslo_config import cfg

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    (
        "dashboard",
        [
            cfg.StrOpt(
                "secret_key", secret=True, help="Signs sessions; the same on every host that serves the dashboard."
            ),
            cfg.ListOpt("allowed_hosts", default=["*"], help="Host names under which browsers reach the dashboard."),
            cfg.BoolOpt("secure_cookies", default=False, help="Send cookies over HTTPS only."),
            cfg.StrOpt("default_domain", default="Default", help="Domain filled in at login."),
            cfg.StrOpt(
                "websso_url",
                help="Identity's address for logins by an identity provider in the browser, "
                ".../v3/auth/OS-FEDERATION/identity_providers/NAME/protocols/openid/websso; unset: none are offered.",
            ),
            cfg.StrOpt("websso_label", default="Log in with single sign-on", help="What its button says."),
            cfg.IntOpt("session_seconds", default=12 * 3600, help="How long a login lasts at most."),
        ],
    ),
)
