# SPDX-License-Identifier: Apache-2.0
"""The identity API: one row per operation."""

from __future__ import annotations

from collections.abc import Iterator

from aerie_common import dialects, schema
from aerie_common.listing import ListStyle
from aerie_common.operations import Operation, Table

from aerie_identity import rules
from aerie_identity.api import catalog, domains, grants, groups, projects, roles, tokens, users, versions
from aerie_identity.db.store import OPERATORS
from aerie_identity.schemas.catalog import ENDPOINT, REGION, SERVICE
from aerie_identity.schemas.common import TAGS
from aerie_identity.schemas.domains import DOMAIN
from aerie_identity.schemas.groups import GROUP
from aerie_identity.schemas.projects import PROJECT
from aerie_identity.schemas.roles import ROLE
from aerie_identity.schemas.tokens import AUTH
from aerie_identity.schemas.users import CHANGE_PASSWORD, USER

_ROLE_PATH = "roles/{role_id}"
_TAG_FILTERS = frozenset({"tags", "tags-any", "not-tags", "not-tags-any"})


def _grants() -> Iterator[Operation]:
    """Grants: {project, domain, system, global} x {user, group}, and inherited ones of projects and domains."""
    targets = (
        ("/v3/projects/{project_id}", "grant", False),
        ("/v3/domains/{domain_id}", "grant", False),
        ("/v3/OS-INHERIT/projects/{project_id}", "grant", True),
        ("/v3/OS-INHERIT/domains/{domain_id}", "grant", True),
        ("/v3/system", "system_grant", False),
        ("/v3/global", "global_grant", False),
    )
    for base, name, inherited in targets:
        wide = name != "grant"
        for actor in ("users/{user_id}", "groups/{group_id}"):
            tail = "/inherited_to_projects" if inherited else ""
            suffix = f"_for_{actor.split('/')[0][:-1]}" if wide else ""
            one = f"{base}/{actor}/{_ROLE_PATH}{tail}"
            write = rules.ADMIN if wide else rules.GRANT
            read = rules.SYSTEM_READER if wide else rules.LIST_GRANTS
            policy = f"identity:{{}}_{name}{suffix}"
            common = {"check": "handler", "status": 204}
            yield Operation("PUT", one, grants.create, policy.format("create"), write, **common)
            yield Operation("GET", one, grants.check, policy.format("check"), read, **common)
            yield Operation("DELETE", one, grants.delete, policy.format("revoke"), write, **common)
            plural = f"identity:list_{name}s{suffix}"
            yield Operation("GET", f"{base}/{actor}/roles{tail}", grants.list_, plural, read, check="handler")


TABLE = Table("identity", [
    # discovery
    Operation("GET", "/", versions.list_, None, status=300),
    Operation("GET", "/v3", versions.show, None),

    # tokens
    Operation("POST", "/v3/auth/tokens", tokens.issue, None, request=AUTH, status=201),
    Operation("GET", "/v3/auth/tokens", tokens.show, "identity:validate_token", rules.TOKEN, check="handler"),
    Operation("DELETE", "/v3/auth/tokens", tokens.delete, "identity:revoke_token", rules.TOKEN,
              check="handler", status=204),
    Operation("GET", "/v3/auth/catalog", tokens.catalog, "identity:get_auth_catalog", rules.ANYBODY),
    Operation("GET", "/v3/auth/projects", tokens.list_projects, "identity:get_auth_projects", rules.ANYBODY),
    Operation("GET", "/v3/auth/domains", tokens.list_domains, "identity:get_auth_domains", rules.ANYBODY),
    Operation("GET", "/v3/auth/system", tokens.list_systems, "identity:get_auth_system", rules.ANYBODY),
    Operation("GET", "/v3/OS-REVOKE/epoch", tokens.epoch, None),
    Operation("GET", "/v3/OS-REVOKE/events", tokens.list_revocations, "identity:list_revoke_events",
              rules.SERVICE_OR_READER),

    # domains
    Operation("POST", "/v3/domains", domains.create, "identity:create_domain", rules.ADMIN,
              request=DOMAIN, verb="create", reply=DOMAIN, status=201),
    Operation("GET", "/v3/domains", domains.list_, "identity:list_domains", rules.DOMAIN_READER,
              filters=DOMAIN, reply=DOMAIN),
    Operation("GET", "/v3/domains/{domain_id}", domains.show, "identity:get_domain",
              f"{rules.DOMAIN_READER} or project_domain_id:%(project_domain_id)s", check="handler", reply=DOMAIN),
    Operation("PATCH", "/v3/domains/{domain_id}", domains.update, "identity:update_domain", rules.ADMIN,
              request=DOMAIN, verb="update", reply=DOMAIN),
    Operation("DELETE", "/v3/domains/{domain_id}", domains.delete, "identity:delete_domain", rules.ADMIN, status=204),

    # projects
    Operation("POST", "/v3/projects", projects.create, "identity:create_project", rules.DOMAIN_MANAGER,
              request=PROJECT, verb="create", reply=PROJECT, status=201, check="handler"),
    Operation("GET", "/v3/projects", projects.list_, "identity:list_projects", rules.DOMAIN_READER,
              filters=PROJECT, extra_filters=_TAG_FILTERS, reply=PROJECT),
    Operation("GET", "/v3/projects/{project_id}", projects.show, "identity:get_project", rules.OWN_PROJECT_OR_READER,
              check="handler", reply=PROJECT),
    Operation("PATCH", "/v3/projects/{project_id}", projects.update, "identity:update_project", rules.DOMAIN_MANAGER,
              request=PROJECT, verb="update", reply=PROJECT, check="handler"),
    Operation("DELETE", "/v3/projects/{project_id}", projects.delete, "identity:delete_project", rules.DOMAIN_MANAGER,
              check="handler", status=204),
    Operation("GET", "/v3/users/{user_id}/projects", projects.list_of_user, "identity:list_user_projects",
              rules.SELF_OR_DOMAIN_READER, check="handler"),

    # tags
    Operation("GET", "/v3/projects/{project_id}/tags", projects.list_tags, "identity:list_project_tags",
              rules.OWN_PROJECT_OR_READER, check="handler"),
    Operation("PUT", "/v3/projects/{project_id}/tags", projects.set_tags, "identity:update_project_tags",
              rules.DOMAIN_MANAGER, request=schema.obj({"tags": TAGS}, ["tags"], extra=True), check="handler"),
    Operation("DELETE", "/v3/projects/{project_id}/tags", projects.delete_tags, "identity:delete_project_tags",
              rules.DOMAIN_MANAGER, check="handler", status=204),
    Operation("GET", "/v3/projects/{project_id}/tags/{tag}", projects.check_tag, "identity:get_project_tag",
              rules.OWN_PROJECT_OR_READER, check="handler", status=204),
    Operation("PUT", "/v3/projects/{project_id}/tags/{tag}", projects.add_tag, "identity:create_project_tag",
              rules.DOMAIN_MANAGER, check="handler", status=201),
    Operation("DELETE", "/v3/projects/{project_id}/tags/{tag}", projects.delete_tag, "identity:delete_project_tag",
              rules.DOMAIN_MANAGER, check="handler", status=204),

    # users
    Operation("POST", "/v3/users", users.create, "identity:create_user", rules.DOMAIN_MANAGER,
              request=USER, verb="create", reply=USER, status=201, check="handler"),
    Operation("GET", "/v3/users", users.list_, "identity:list_users", rules.DOMAIN_READER,
              filters=USER, extra_filters=frozenset({"password_expires_at"}), reply=USER),
    Operation("GET", "/v3/users/{user_id}", users.show, "identity:get_user", rules.SELF_OR_DOMAIN_READER,
              check="handler", reply=USER),
    Operation("PATCH", "/v3/users/{user_id}", users.update, "identity:update_user", rules.DOMAIN_MANAGER,
              request=USER, verb="update", reply=USER, check="handler"),
    Operation("DELETE", "/v3/users/{user_id}", users.delete, "identity:delete_user", rules.DOMAIN_MANAGER,
              check="handler", status=204),
    Operation("POST", "/v3/users/{user_id}/password", users.change_password, None, request=CHANGE_PASSWORD, status=204),
    Operation("GET", "/v3/users/{user_id}/groups", users.list_groups, "identity:list_groups_for_user",
              rules.SELF_OR_DOMAIN_READER, filters=GROUP, reply=GROUP, check="handler"),
    Operation("GET", "/v3/users/{user_id}/domains", users.list_domains, "identity:list_domains_for_user",
              rules.SELF_OR_READER, check="handler"),

    # groups
    Operation("POST", "/v3/groups", groups.create, "identity:create_group", rules.DOMAIN_MANAGER,
              request=GROUP, verb="create", reply=GROUP, status=201, check="handler"),
    Operation("GET", "/v3/groups", groups.list_, "identity:list_groups", rules.DOMAIN_READER, filters=GROUP,
              reply=GROUP),
    Operation("GET", "/v3/groups/{group_id}", groups.show, "identity:get_group", rules.DOMAIN_READER,
              check="handler", reply=GROUP),
    Operation("PATCH", "/v3/groups/{group_id}", groups.update, "identity:update_group", rules.DOMAIN_MANAGER,
              request=GROUP, verb="update", reply=GROUP, check="handler"),
    Operation("DELETE", "/v3/groups/{group_id}", groups.delete, "identity:delete_group", rules.DOMAIN_MANAGER,
              check="handler", status=204),
    Operation("GET", "/v3/groups/{group_id}/users", groups.list_members, "identity:list_users_in_group",
              rules.DOMAIN_READER, filters=USER, reply=USER, check="handler"),
    Operation("PUT", "/v3/groups/{group_id}/users/{user_id}", groups.add_member, "identity:add_user_to_group",
              rules.DOMAIN_MANAGER, check="handler", status=204),
    Operation("GET", "/v3/groups/{group_id}/users/{user_id}", groups.check_member, "identity:check_user_in_group",
              rules.DOMAIN_READER, check="handler", status=204),
    Operation("DELETE", "/v3/groups/{group_id}/users/{user_id}", groups.delete_member,
              "identity:remove_user_from_group",
              rules.DOMAIN_MANAGER, check="handler", status=204),

    # roles
    Operation("POST", "/v3/roles", roles.create, "identity:create_role", rules.ADMIN,
              request=ROLE, verb="create", reply=ROLE, status=201),
    Operation("GET", "/v3/roles", roles.list_, "identity:list_roles",
              f"{rules.SERVICE_OR_READER} or role:manager or rule:domain_reader", filters=ROLE, reply=ROLE),
    Operation("GET", "/v3/roles/{role_id}", roles.show, "identity:get_role",
              f"{rules.SERVICE_OR_READER} or role:manager or rule:domain_reader", reply=ROLE),
    Operation("PATCH", "/v3/roles/{role_id}", roles.update, "identity:update_role", rules.ADMIN,
              request=ROLE, verb="update", reply=ROLE),
    Operation("DELETE", "/v3/roles/{role_id}", roles.delete, "identity:delete_role", rules.ADMIN, status=204),
    Operation("GET", "/v3/role_inferences", roles.list_inferences, "identity:list_role_inference_rules",
              rules.SYSTEM_READER),
    Operation("GET", "/v3/roles/{prior_role_id}/implies", roles.list_implied, "identity:list_implied_roles",
              rules.SYSTEM_READER),
    Operation("PUT", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", roles.imply, "identity:create_implied_role",
              rules.ADMIN, status=201),
    Operation("GET", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", roles.show_implied,
              "identity:get_implied_role", rules.SYSTEM_READER),
    Operation("DELETE", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", roles.unimply,
              "identity:delete_implied_role", rules.ADMIN, status=204),

    # grants
    *_grants(),
    Operation("GET", "/v3/role_assignments", grants.list_assignments, "identity:list_role_assignments",
              rules.DOMAIN_READER),

    # catalog
    Operation("POST", "/v3/regions", catalog.create_region, "identity:create_region", rules.ADMIN,
              request=REGION, verb="create", reply=REGION, status=201),
    Operation("PUT", "/v3/regions/{region_id}", catalog.put_region, "identity:create_region", rules.ADMIN,
              request=REGION, verb="create", reply=REGION, status=201),
    Operation("GET", "/v3/regions", catalog.list_regions, "identity:list_regions", rules.ANYBODY,
              filters=REGION, reply=REGION),
    Operation("GET", "/v3/regions/{region_id}", catalog.show_region, "identity:get_region", rules.ANYBODY,
              reply=REGION),
    Operation("PATCH", "/v3/regions/{region_id}", catalog.update_region, "identity:update_region", rules.ADMIN,
              request=REGION, verb="update", reply=REGION),
    Operation("DELETE", "/v3/regions/{region_id}", catalog.delete_region, "identity:delete_region",
              rules.ADMIN, status=204),
    Operation("POST", "/v3/services", catalog.create_service, "identity:create_service", rules.ADMIN,
              request=SERVICE, verb="create", reply=SERVICE, status=201),
    Operation("GET", "/v3/services", catalog.list_services, "identity:list_services", rules.SERVICE_OR_READER,
              filters=SERVICE, reply=SERVICE),
    Operation("GET", "/v3/services/{service_id}", catalog.show_service, "identity:get_service", rules.SERVICE_OR_READER,
              reply=SERVICE),
    Operation("PATCH", "/v3/services/{service_id}", catalog.update_service, "identity:update_service", rules.ADMIN,
              request=SERVICE, verb="update", reply=SERVICE),
    Operation("DELETE", "/v3/services/{service_id}", catalog.delete_service, "identity:delete_service", rules.ADMIN,
              status=204),
    Operation("POST", "/v3/endpoints", catalog.create_endpoint, "identity:create_endpoint", rules.ADMIN,
              request=ENDPOINT, verb="create", reply=ENDPOINT, status=201),
    Operation("GET", "/v3/endpoints", catalog.list_endpoints, "identity:list_endpoints", rules.SERVICE_OR_READER,
              filters=ENDPOINT, reply=ENDPOINT),
    Operation("GET", "/v3/endpoints/{endpoint_id}", catalog.show_endpoint, "identity:get_endpoint",
              rules.SERVICE_OR_READER, reply=ENDPOINT),
    Operation("PATCH", "/v3/endpoints/{endpoint_id}", catalog.update_endpoint, "identity:update_endpoint", rules.ADMIN,
              request=ENDPOINT, verb="update", reply=ENDPOINT),
    Operation("DELETE", "/v3/endpoints/{endpoint_id}", catalog.delete_endpoint, "identity:delete_endpoint", rules.ADMIN,
              status=204),
], dialect=dialects.keystone, prefixes=("/identity",), rules=rules.EXTRA_RULES,
   style=ListStyle(operators=frozenset(OPERATORS)))  # fmt: skip
