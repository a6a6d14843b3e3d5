# SPDX-License-Identifier: Apache-2.0
"""The options of an LDAP directory, under Keystone's names, read from a domain's configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

TRUE_WORDS = frozenset({"true", "1", "yes", "on", "t", "y"})
FALSE_WORDS = frozenset({"false", "0", "no", "off", "f", "n"})
SCHEMES = ("ldap://", "ldaps://", "ldapi://")


def _bool(value: Any) -> bool:
    word = str(value).strip().lower()
    if word in TRUE_WORDS | FALSE_WORDS:
        return word in TRUE_WORDS
    raise ValueError("must be true or false")


def _int(value: Any) -> int:
    if isinstance(value, bool):
        raise ValueError("must be a whole number")
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError("must be a whole number") from None


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError("must be a number") from None


def _text(value: Any) -> str:
    if not isinstance(value, (str, int, float, bool)):
        raise ValueError("must be text")
    return str(value)


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise ValueError("must be a list of words")
    return tuple(word.strip() for word in value if word.strip())


def _one_of(*choices: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if str(value).lower() not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return str(value).lower()

    return read


def _urls(value: Any) -> str:
    """Servers in the order in which they are tried, separated by blanks as the library wants them."""
    urls = _text(value).replace(",", " ").split()
    if not urls or not all(url.lower().startswith(SCHEMES) for url in urls):
        raise ValueError("must be addresses like ldap://host or ldaps://host")
    for url in urls:
        urlsplit(url).port  # noqa: B018  (raises ValueError)
    return " ".join(urls)


def _option(default: Any, read: Callable[[Any], Any]) -> Any:
    return dataclasses.field(default=default, metadata={"read": read})


@dataclass(frozen=True, kw_only=True)
class LdapOptions:
    """Referrals are never followed (`chase_referrals` is ignored) and every wait is bounded (a time-out of -1 means
    ten seconds)."""

    url: str = _option("ldap://localhost", _urls)
    user: str = _option("", _text)
    password: str = dataclasses.field(default="", repr=False, metadata={"read": _text})
    suffix: str = _option("cn=example,cn=com", _text)
    query_scope: str = _option("one", _one_of("one", "sub"))
    page_size: int = _option(0, _int)
    alias_dereferencing: str = _option("default", _one_of("default", "never", "searching", "always", "finding"))
    user_tree_dn: str = _option("", _text)
    user_filter: str = _option("", _text)
    user_objectclass: str = _option("inetOrgPerson", _text)
    user_id_attribute: str = _option("cn", _text)
    user_name_attribute: str = _option("sn", _text)
    user_description_attribute: str = _option("description", _text)
    user_mail_attribute: str = _option("mail", _text)
    user_enabled_attribute: str = _option("enabled", _text)
    user_enabled_invert: bool = _option(False, _bool)
    user_enabled_mask: int = _option(0, _int)
    user_enabled_default: str = _option("True", _text)
    user_attribute_ignore: tuple[str, ...] = _option(("default_project_id",), _words)
    user_default_project_id_attribute: str = _option("", _text)
    user_enabled_emulation: bool = _option(False, _bool)
    user_enabled_emulation_dn: str = _option("", _text)
    user_enabled_emulation_use_group_config: bool = _option(False, _bool)
    user_additional_attribute_mapping: tuple[str, ...] = _option((), _words)
    group_tree_dn: str = _option("", _text)
    group_filter: str = _option("", _text)
    group_objectclass: str = _option("groupOfNames", _text)
    group_id_attribute: str = _option("cn", _text)
    group_name_attribute: str = _option("ou", _text)
    group_member_attribute: str = _option("member", _text)
    group_members_are_ids: bool = _option(False, _bool)
    group_desc_attribute: str = _option("description", _text)
    group_attribute_ignore: tuple[str, ...] = _option((), _words)
    group_additional_attribute_mapping: tuple[str, ...] = _option((), _words)
    group_ad_nesting: bool = _option(False, _bool)
    use_tls: bool = _option(False, _bool)
    tls_cacertfile: str = _option("", _text)
    tls_cacertdir: str = _option("", _text)
    tls_req_cert: str = _option("demand", _one_of("demand", "allow", "never"))
    connection_timeout: float = _option(-1, _float)
    use_pool: bool = _option(True, _bool)
    pool_size: int = _option(10, _int)
    pool_connection_timeout: float = _option(-1, _float)
    pool_connection_lifetime: float = _option(600, _float)

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> LdapOptions:
        """From what is set for a domain; what means nothing here is left out. Raises ValueError naming the option."""
        read: dict[str, Any] = {}
        for option in dataclasses.fields(cls):
            value = values.get(option.name)
            if value is None:
                continue
            try:
                read[option.name] = option.metadata["read"](value)
            except ValueError as e:
                raise ValueError(f"{option.name} {e}") from None
        made = cls(**read)
        made._check()
        return made

    def _check(self) -> None:
        if self.use_tls and "ldaps://" in self.url.lower():
            raise ValueError("use_tls and an address ldaps:// exclude each other")
        if self.pool_size < 1 or self.page_size < 0:
            raise ValueError("pool_size must be at least 1, page_size at least 0")
        for name in ("user_tree_dn", "group_tree_dn"):
            if not getattr(self, name) and not self.suffix:
                raise ValueError(f"either suffix or {name} must be set")
        for mapping in (*self.user_additional_attribute_mapping, *self.group_additional_attribute_mapping):
            if mapping.count(":") != 1:
                raise ValueError("additional attributes are named like ldap_attribute:attribute")

    @property
    def users_base(self) -> str:
        return self.user_tree_dn or f"ou=Users,{self.suffix}"

    @property
    def groups_base(self) -> str:
        return self.group_tree_dn or f"ou=UserGroups,{self.suffix}"

    @property
    def seconds(self) -> float:
        """The longest wait for a connection or a short answer."""
        for given in (self.connection_timeout, self.pool_connection_timeout):
            if given > 0:
                return given
        return 10.0
