# SPDX-License-Identifier: Apache-2.0
"""The Django site: settings from the daemon's configuration, middleware, the WSGI application."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from oslo_config import cfg
from whitenoise import WhiteNoise

HERE = Path(__file__).parent


def configure(conf: cfg.ConfigOpts) -> None:
    """Django's settings. Once per process."""
    options = conf.dashboard
    settings.configure(
        DEBUG=False,
        SECRET_KEY=options.secret_key or secrets.token_hex(32),
        ALLOWED_HOSTS=options.allowed_hosts,
        ROOT_URLCONF="aerie_dashboard.urls",
        INSTALLED_APPS=["django.contrib.messages", "django.contrib.staticfiles", "django_htmx", "aerie_dashboard"],
        MIDDLEWARE=[
            "aerie_dashboard.middleware.security_headers",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
            "django_htmx.middleware.HtmxMiddleware",
            "aerie_dashboard.middleware.signed_in",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "DIRS": [HERE / "templates"],
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.messages.context_processors.messages",
                        "aerie_dashboard.middleware.page_context",
                    ],
                    "libraries": {"aerie": "aerie_dashboard.template_tags"},
                },
            }
        ],
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        SESSION_COOKIE_AGE=options.session_seconds,
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SECURE=options.secure_cookies,
        SESSION_COOKIE_SAMESITE="Lax",
        CSRF_COOKIE_SECURE=options.secure_cookies,
        CSRF_COOKIE_HTTPONLY=True,
        CSRF_USE_SESSIONS=False,
        MESSAGE_STORAGE="django.contrib.messages.storage.cookie.CookieStorage",
        STATIC_URL="/static/",
        DATABASES={},
        USE_TZ=True,
        TIME_ZONE="UTC",
        DEFAULT_CHARSET="utf-8",
        LOGGING_CONFIG=None,
        AERIE_AUTH_URL=conf.keystone_authtoken.auth_url.rstrip("/"),
        AERIE_REGION=conf.region_name,
        AERIE_DEFAULT_DOMAIN=options.default_domain,
        AERIE_WEBSSO_URL=options.websso_url,
        AERIE_WEBSSO_LABEL=options.websso_label,
    )
    django.setup()


def application(conf: cfg.ConfigOpts) -> Any:
    """The WSGI application: the pages, and beside them the static files of the installed packages."""
    if not settings.configured:
        configure(conf)
    import django_htmx

    app = WhiteNoise(get_wsgi_application(), max_age=3600)
    app.add_files(str(HERE / "static"), prefix="static/")
    app.add_files(str(Path(django_htmx.__file__).parent / "static"), prefix="static/")

    def site(environ: dict[str, Any], start_response: Any) -> Any:
        if environ.get("PATH_INFO") == "/healthcheck":
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
            return [b"OK"]
        return app(environ, start_response)

    return site
