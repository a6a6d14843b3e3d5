# SPDX-License-Identifier: Apache-2.0
"""Users and groups in an LDAP directory, found as Keystone finds them with the same options.

Invariants: whatever callers name reaches the directory only escaped. An account whose `enabled` attribute cannot be
understood is disabled.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import ldap
import ldap.dn
from ldap.filter import escape_filter_chars

from aerie_identity.drivers.base import Directory, DirectoryGroup, DirectoryUser, NameTest
from aerie_identity.drivers.ldap_connections import Connections, Entry
from aerie_identity.drivers.ldap_options import FALSE_WORDS, TRUE_WORDS, LdapOptions

LOG = logging.getLogger(__name__)

BATCH = 100
"""How many entries one filter asks for by id."""
IN_CHAIN = "1.2.840.113556.1.4.1941"
"""Active Directory's matching rule for members of members."""
MAX_ID = 255
_PATTERNS = {"": "{}", "contains": "*{}*", "startswith": "{}*", "endswith": "*{}"}
_ATTRIBUTE = re.compile(r"[A-Za-z][A-Za-z0-9-]*\Z|[0-9]+(\.[0-9]+)*\Z")

Attributes = dict[str, list[bytes]]


def _batches(items: Iterable[str]) -> Iterator[list[str]]:
    wanted = list(dict.fromkeys(items))
    for start in range(0, len(wanted), BATCH):
        yield wanted[start : start + BATCH]


def _any(tests: Sequence[str]) -> str:
    return tests[0] if len(tests) == 1 else f"(|{''.join(tests)})"


def _normal(dn: str) -> Any:
    """A DN in a form in which equal ones are equal."""
    try:
        parts = ldap.dn.str2dn(dn)
    except ldap.LDAPError:
        return dn.casefold()
    return tuple(tuple(sorted((a.lower(), " ".join(v.casefold().split())) for a, v, _ in rdn)) for rdn in parts)


def _is_guid(attribute: str) -> bool:
    return attribute.lower() == "objectguid"


def _text(attribute: str, value: bytes) -> str | None:
    """None for what is no text."""
    if _is_guid(attribute):
        return str(uuid.UUID(bytes_le=value)) if len(value) == 16 else None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _equals(attribute: str, value: str, pattern: str = "{}") -> str:
    """A filter's test for a value that a caller gave."""
    escaped = escape_filter_chars(value)
    if _is_guid(attribute):
        try:
            escaped = "".join(f"\\{byte:02x}" for byte in uuid.UUID(value).bytes_le)
        except ValueError:
            pass  # no GUID, so it matches nothing
    return f"({attribute}={pattern.format(escaped)})"


class _Values:
    """The attributes of one entry; names in any case."""

    def __init__(self, dn: str, attributes: Attributes) -> None:
        self.dn = dn
        self._values = {name.lower(): values for name, values in attributes.items()}

    def all(self, name: str) -> list[str]:
        found = (_text(name, value) for value in self._values.get(name.lower(), ()))
        return [value for value in found if value is not None]

    def first(self, name: str) -> str | None:
        """The value; of several the one that names the entry, else the first."""
        values = self.all(name)
        if len(values) > 1:
            try:
                named = [v for a, v, _ in ldap.dn.str2dn(self.dn)[0] if a.lower() == name.lower()]
            except (ldap.LDAPError, IndexError):
                named = []
            values = [v for v in values if v in named] or values
        return values[0] if values else None


class LdapDirectory(Directory):
    def __init__(self, options: LdapOptions, slots: int = 8) -> None:
        self._o = options
        self._connections = Connections(options, slots)
        self._user_more = self._more(options.user_additional_attribute_mapping, options.user_attribute_ignore)
        self._group_more = self._more(options.group_additional_attribute_mapping, options.group_attribute_ignore)

    @staticmethod
    def _more(mappings: tuple[str, ...], ignored: tuple[str, ...]) -> dict[str, str]:
        """Further attributes: theirs -> ours."""
        pairs = (mapping.split(":") for mapping in mappings)
        return {theirs.strip(): ours.strip() for theirs, ours in pairs if ours.strip() not in ignored}

    def close(self) -> None:
        self._connections.close()

    # ---------------------------------------------------------------------------------------------------------- users

    def _user_attributes(self) -> list[str]:
        o = self._o
        names = [o.user_id_attribute, o.user_name_attribute, *self._user_more]
        for ours, theirs in (
            ("email", o.user_mail_attribute),
            ("description", o.user_description_attribute),
            ("enabled", o.user_enabled_attribute),
            ("default_project_id", o.user_default_project_id_attribute),
        ):
            if theirs and ours not in o.user_attribute_ignore:
                names.append(theirs)
        return list(dict.fromkeys(names))

    def _find_users(self, *tests: str, long: bool = False) -> list[DirectoryUser]:
        o = self._o
        found = self._connections.search(
            o.users_base,
            o.query_scope,
            _filter(o.user_objectclass, o.user_filter, *tests),
            self._user_attributes(),
            long=long,
        )
        enabled = self._enabled_by_group() if found and o.user_enabled_emulation else None
        return _only([self._user(entry, enabled) for entry in found])

    def _user(self, entry: Entry, enabled: Callable[[str], bool] | None) -> DirectoryUser | None:
        o, values = self._o, _Values(*entry)
        local_id = values.first(o.user_id_attribute)
        name = values.first(o.user_name_attribute)
        if not local_id or not name or not values.dn or len(local_id) > MAX_ID:
            LOG.info("an entry of the directory has no usable id or name: %s", values.dn)
            return None
        extra: dict[str, Any] = {}
        shown = {o.user_mail_attribute: "email", o.user_description_attribute: "description", **self._user_more}
        for theirs, ours in shown.items():
            value = values.first(theirs) if theirs and ours not in o.user_attribute_ignore else None
            if value is not None:
                extra[ours] = value
        default_project = o.user_default_project_id_attribute
        return DirectoryUser(
            local_id=local_id,
            name=name,
            address=values.dn,
            enabled=enabled(values.dn) if enabled else self._enabled(values),
            default_project_id=values.first(default_project) if default_project in self._user_attributes() else None,
            extra=extra,
        )

    def _enabled(self, values: _Values) -> bool:
        o = self._o
        text: str | None = None
        if "enabled" not in o.user_attribute_ignore:
            text = values.first(o.user_enabled_attribute)
        word = (o.user_enabled_default if text is None else text).strip().lower()
        if o.user_enabled_mask:
            try:
                return int(word) & o.user_enabled_mask != o.user_enabled_mask
            except ValueError:
                return False
        if word in TRUE_WORDS:
            return not o.user_enabled_invert
        return word in FALSE_WORDS and o.user_enabled_invert

    def _enabled_by_group(self) -> Callable[[str], bool]:
        """Enabled are the members of one entry."""
        o = self._o
        dn = o.user_enabled_emulation_dn or f"cn=enabled_users,{o.users_base}"
        member = o.group_member_attribute if o.user_enabled_emulation_use_group_config else "member"
        rows = self._connections.search(dn, "base", "(objectClass=*)", [member])
        members = {_normal(value) for row in rows for value in _Values(*row).all(member)}
        return lambda address: _normal(address) in members

    def users(self, test: NameTest | None = None) -> list[DirectoryUser]:
        tests = [] if test is None else [_name_test(self._o.user_name_attribute, test)]
        return self._find_users(*tests, long=True)

    def users_by_ids(self, local_ids: Iterable[str]) -> list[DirectoryUser]:
        found: list[DirectoryUser] = []
        for batch in _batches(local_ids):
            tests = [_equals(self._o.user_id_attribute, id) for id in batch]
            # The directory may not tell upper from lower case; ids do.
            found += [user for user in self._find_users(_any(tests), long=len(batch) > 1) if user.local_id in batch]
        times = Counter(user.local_id for user in found)
        for id, count in times.items():
            if count > 1:
                LOG.warning("%d entries of the directory have the id %r: none of them is a user", count, id)
        return [user for user in found if times[user.local_id] == 1]

    def authenticate(self, user: DirectoryUser, password: str) -> bool:
        return self._connections.bind(user.address, password)

    # --------------------------------------------------------------------------------------------------------- groups

    def _find_groups(self, *tests: str, long: bool = False) -> list[DirectoryGroup]:
        o = self._o
        names = [o.group_id_attribute, o.group_name_attribute, *self._group_more]
        if o.group_desc_attribute and "description" not in o.group_attribute_ignore:
            names.append(o.group_desc_attribute)
        wanted = _filter(o.group_objectclass, o.group_filter, *tests)
        found = self._connections.search(o.groups_base, o.query_scope, wanted, list(dict.fromkeys(names)), long=long)
        return _only([self._group(entry) for entry in found])

    def _group(self, entry: Entry) -> DirectoryGroup | None:
        o, values = self._o, _Values(*entry)
        local_id, name = values.first(o.group_id_attribute), values.first(o.group_name_attribute)
        if not local_id or not name or len(local_id) > MAX_ID:
            LOG.info("an entry of the directory has no usable id or name: %s", values.dn)
            return None
        described = o.group_desc_attribute and "description" not in o.group_attribute_ignore
        more = {ours: values.first(theirs) for theirs, ours in self._group_more.items()}
        return DirectoryGroup(
            local_id=local_id,
            name=name,
            address=values.dn,
            description=(values.first(o.group_desc_attribute) if described else None) or "",
            extra={ours: value for ours, value in more.items() if value is not None},
        )

    def groups(self, test: NameTest | None = None) -> list[DirectoryGroup]:
        tests = [] if test is None else [_name_test(self._o.group_name_attribute, test)]
        return self._find_groups(*tests, long=True)

    def group(self, local_id: str) -> DirectoryGroup | None:
        found = [g for g in self._find_groups(_equals(self._o.group_id_attribute, local_id)) if g.local_id == local_id]
        return found[0] if len(found) == 1 else None

    # -------------------------------------------------------------------------------------------------------- members

    def groups_of(self, user: DirectoryUser) -> list[DirectoryGroup]:
        o = self._o
        rule = f":{IN_CHAIN}:" if o.group_ad_nesting else ""
        value = user.local_id if o.group_members_are_ids else user.address
        return self._find_groups(f"({o.group_member_attribute}{rule}={escape_filter_chars(value)})", long=True)

    def _member_values(self, local_id: str) -> list[str]:
        o = self._o
        wanted = _filter(o.group_objectclass, o.group_filter, _equals(o.group_id_attribute, local_id))
        found = self._connections.search(o.groups_base, o.query_scope, wanted, [o.group_member_attribute], long=True)
        return _Values(*found[0]).all(o.group_member_attribute) if len(found) == 1 else []

    def members(self, group: DirectoryGroup) -> list[DirectoryUser]:
        o = self._o
        if o.group_ad_nesting:
            return self._find_users(_nested(group), long=True)
        values = self._member_values(group.local_id)
        if o.group_members_are_ids:
            return self.users_by_ids(values)
        return self._users_at(values)

    def _users_at(self, dns: Iterable[str]) -> list[DirectoryUser]:
        """The users among these entries: asked for by the attribute that names the entry, many at a time."""
        wanted, tests = set(), []
        for dn in dns:
            try:
                (attribute, value, _), *_ = ldap.dn.str2dn(dn)[0]
            except (ldap.LDAPError, IndexError):
                continue
            if _ATTRIBUTE.match(attribute):
                wanted.add(_normal(dn))
                tests.append(f"({attribute}={escape_filter_chars(value)})")
        found: dict[str, DirectoryUser] = {}
        for batch in _batches(tests):
            for user in self._find_users(_any(batch), long=True):
                if _normal(user.address) in wanted:
                    found[user.local_id] = user
        return list(found.values())

    def members_among(self, local_id: str, users: Sequence[DirectoryUser]) -> set[str]:
        o = self._o
        if o.group_ad_nesting:
            group = self.group(local_id)
            if group is None:
                return set()
            found: set[str] = set()
            for batch in _batches(user.local_id for user in users):
                ids = _any([_equals(o.user_id_attribute, id) for id in batch])
                found |= {user.local_id for user in self._find_users(_nested(group), ids, long=True)}
            return found
        values = self._member_values(local_id)
        if o.group_members_are_ids:
            return {user.local_id for user in users} & set(values)
        members = {_normal(value) for value in values}
        return {user.local_id for user in users if _normal(user.address) in members}


def _filter(objectclass: str, configured: str, *tests: str) -> str:
    """All of these at once."""
    parts = [f"(objectClass={escape_filter_chars(objectclass)})"]
    if configured.strip():
        parts.append(configured.strip() if configured.strip().startswith("(") else f"({configured.strip()})")
    return f"(&{''.join((*parts, *tests))})"


def _name_test(attribute: str, test: NameTest) -> str:
    return _any([_equals(attribute, value, _PATTERNS[test.operator]) for value in test.values])


def _nested(group: DirectoryGroup) -> str:
    return f"(memberOf:{IN_CHAIN}:={escape_filter_chars(group.address)})"


def _only(found: Iterable[Any]) -> list[Any]:
    return [one for one in found if one is not None]
