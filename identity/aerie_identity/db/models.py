# SPDX-License-Identifier: Apache-2.0
"""The rows that other layers see, and the Store of each."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from aerie_identity.db import tables as t
from aerie_identity.db.store import Store


@dataclass(frozen=True)
class Project:
    """A project, or a domain (is_domain, domain_id "")."""

    id: str
    domain_id: str
    name: str
    parent_id: str | None
    path: str
    is_domain: bool = False
    description: str = ""
    enabled: bool = True
    tokens_since: datetime.datetime | None = None
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def ancestors(self) -> list[str]:
        """Ids of the domain and the parents, from the top, without itself."""
        return self.path.strip("/").split("/")[:-1]


@dataclass(frozen=True)
class User:
    id: str
    domain_id: str
    name: str
    enabled: bool = True
    default_project_id: str | None = None
    tokens_since: datetime.datetime | None = None
    failed_logins: int = 0
    failed_login_at: datetime.datetime | None = None
    last_active_at: datetime.date | None = None
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    created_at: datetime.datetime | None = None


@dataclass(frozen=True)
class Password:
    user_id: str
    hash: str
    self_service: bool
    created_at: datetime.datetime
    expires_at: datetime.datetime | None


@dataclass(frozen=True)
class Group:
    id: str
    domain_id: str
    name: str
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Role:
    id: str
    name: str
    domain_id: str = t.ROOT
    description: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Assignment:
    """A grant as it is stored. actor_type: user, group. target_type: project, domain, system, global."""

    actor_type: str
    actor_id: str
    target_type: str
    target_id: str
    role_id: str
    inherited: bool = False


@dataclass(frozen=True)
class Region:
    id: str
    parent_region_id: str | None = None
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    id: str
    type: str
    name: str | None = None
    description: str | None = None
    enabled: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Endpoint:
    id: str
    service_id: str
    interface: str
    url: str
    region_id: str | None = None
    name: str | None = None
    description: str | None = None
    enabled: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EndpointGroup:
    id: str
    name: str
    filters: dict[str, Any]
    description: str | None = None


@dataclass(frozen=True)
class PolicyBlob:
    id: str
    type: str
    blob: Any
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Credential:
    id: str
    user_id: str
    type: str
    encrypted_blob: str
    project_id: str | None = None
    access_hash: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class AccessRule:
    id: str
    user_id: str
    service: str
    method: str
    path: str


@dataclass(frozen=True)
class ApplicationCredential:
    id: str
    user_id: str
    name: str
    secret_hash: str
    project_id: str | None = None
    system: str | None = None
    description: str | None = None
    expires_at: datetime.datetime | None = None
    unrestricted: bool = False
    roles: tuple[str, ...] = ()
    access_rules: tuple[AccessRule, ...] | None = None


@dataclass(frozen=True)
class Trust:
    id: str
    trustor_user_id: str
    trustee_user_id: str
    project_id: str | None
    impersonation: bool
    expires_at: datetime.datetime | None = None
    remaining_uses: int | None = None
    redelegated_trust_id: str | None = None
    redelegation_count: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Consumer:
    id: str
    secret: str
    description: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RegisteredLimit:
    id: str
    service_id: str
    resource_name: str
    default_limit: int
    region_id: str = ""
    description: str | None = None


@dataclass(frozen=True)
class Limit:
    id: str
    registered_limit_id: str
    project_id: str
    service_id: str
    resource_name: str
    resource_limit: int
    region_id: str = ""
    description: str | None = None


@dataclass(frozen=True)
class IdentityProvider:
    """remote_ids: how it names itself (OpenID Connect: its issuers). authorization_ttl: minutes that the groups of a
    login last."""

    id: str
    domain_id: str
    enabled: bool = False
    description: str | None = None
    authorization_ttl: int | None = None
    remote_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Protocol:
    """A way to log in by an identity provider, and the mapping it uses."""

    id: str
    idp_id: str
    mapping_id: str
    remote_id_attribute: str | None = None


@dataclass(frozen=True)
class Mapping:
    id: str
    rules: list[dict[str, Any]]
    schema_version: str = "1.0"


@dataclass(frozen=True)
class ServiceProvider:
    id: str
    auth_url: str
    sp_url: str
    enabled: bool = False
    description: str | None = None
    relay_state_prefix: str = "ss:mem:"


@dataclass(frozen=True)
class FederatedUser:
    """Who a user is to an identity provider."""

    idp_id: str
    protocol_id: str
    unique_id: str
    user_id: str
    display_name: str | None = None


PROJECTS = Store(t.projects, Project)
USERS = Store(t.users, User)
PASSWORDS = Store(t.passwords, Password)
GROUPS = Store(t.groups, Group)
ROLES = Store(t.roles, Role)
ASSIGNMENTS = Store(t.assignments, Assignment, key="actor_id")
REGIONS = Store(t.regions, Region)
SERVICES = Store(t.services, Service)
ENDPOINTS = Store(t.endpoints, Endpoint)
ENDPOINT_GROUPS = Store(t.endpoint_groups, EndpointGroup)
POLICIES = Store(t.policies, PolicyBlob)
CREDENTIALS = Store(t.credentials, Credential)
ACCESS_RULES = Store(t.access_rules, AccessRule)
APPLICATION_CREDENTIALS = Store(t.application_credentials, ApplicationCredential)
TRUSTS = Store(t.trusts, Trust)
CONSUMERS = Store(t.consumers, Consumer)
REGISTERED_LIMITS = Store(t.registered_limits, RegisteredLimit)
LIMITS = Store(t.limits, Limit)
IDENTITY_PROVIDERS = Store(t.identity_providers, IdentityProvider)
PROTOCOLS = Store(t.protocols, Protocol)
MAPPINGS = Store(t.mappings, Mapping)
SERVICE_PROVIDERS = Store(t.service_providers, ServiceProvider)
FEDERATED_USERS = Store(t.federated_users, FederatedUser, key="user_id")
