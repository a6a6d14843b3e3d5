# SPDX-License-Identifier: Apache-2.0
"""The identity API: one row per operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from aerie_common import dialects, schema
from aerie_common.listing import ListStyle
from aerie_common.operations import Operation, Table
from aerie_identity import rules
from aerie_identity.api import (
    application_credentials,
    catalog,
    credentials,
    domain_config,
    domains,
    endpoint_filters,
    federation,
    grants,
    groups,
    identity_providers,
    limits,
    mappings,
    oauth2,
    policies,
    policy_associations,
    projects,
    protocols,
    roles,
    service_providers,
    tokens,
    trusts,
    users,
    versions,
    websso,
)
from aerie_identity.db.store import OPERATORS
from aerie_identity.schemas.application_credentials import ACCESS_RULE, APPLICATION_CREDENTIAL
from aerie_identity.schemas.catalog import ENDPOINT, ENDPOINT_GROUP, REGION, SERVICE
from aerie_identity.schemas.common import TAGS
from aerie_identity.schemas.credentials import CREDENTIAL, EC2_CREATE, EC2_TOKEN
from aerie_identity.schemas.domains import DOMAIN
from aerie_identity.schemas.groups import GROUP
from aerie_identity.schemas.identity_providers import IDENTITY_PROVIDER
from aerie_identity.schemas.limits import LIMIT, REGISTERED_LIMIT, many
from aerie_identity.schemas.mappings import MAPPING
from aerie_identity.schemas.policies import CONSUMER, POLICY
from aerie_identity.schemas.projects import PROJECT
from aerie_identity.schemas.protocols import PROTOCOL
from aerie_identity.schemas.roles import ROLE
from aerie_identity.schemas.service_providers import SERVICE_PROVIDER
from aerie_identity.schemas.tokens import AUTH
from aerie_identity.schemas.trusts import TRUST
from aerie_identity.schemas.users import CHANGE_PASSWORD, USER

_ROLE_PATH = "roles/{role_id}"
_USER_FILTERS = frozenset({"password_expires_at", "idp_id", "protocol_id", "unique_id"})
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
            read = rules.CLOUD_READER if wide else rules.LIST_GRANTS
            look = rules.CLOUD_READER if wide else rules.CHECK_GRANT
            policy = f"identity:{{}}_{name}{suffix}"
            common: dict[str, Any] = {"check": "handler", "status": 204}
            yield Operation("PUT", one, grants.create, policy.format("create"), write, **common)
            yield Operation("GET", one, grants.check, policy.format("check"), look, **common)
            yield Operation("DELETE", one, grants.delete, policy.format("revoke"), write, **common)
            plural = f"identity:list_{name}s{suffix}"
            yield Operation("GET", f"{base}/{actor}/roles{tail}", grants.list_, plural, read, check="handler")


def _domain_config() -> Iterator[Operation]:
    """A domain's configuration, one group of it, one option of it."""
    body = schema.obj({"config": {"type": "object"}}, ["config"], extra=True)
    for tail in ("", "/{group}", "/{group}/{option}"):
        path = f"/v3/domains/{{domain_id}}/config{tail}"
        default = f"/v3/domains/config{tail}/default"
        yield Operation("GET", path, domain_config.show, "identity:get_domain_config", rules.CLOUD_READER,
                        check="handler")
        yield Operation("PATCH", path, domain_config.update, "identity:update_domain_config", rules.ADMIN, request=body)
        yield Operation("DELETE", path, domain_config.delete, "identity:delete_domain_config", rules.ADMIN, status=204)
        yield Operation("GET", default, domain_config.default, "identity:get_domain_config_default",
              rules.CLOUD_READER)
    path = "/v3/domains/{domain_id}/config"
    yield Operation("PUT", path, domain_config.replace, "identity:create_domain_config", rules.ADMIN, request=body)


def _endpoint_filters() -> Iterator[Operation]:
    """OS-EP-FILTER: endpoints and endpoint groups of projects. All of it is the administrator's."""
    base, read, write = "/v3/OS-EP-FILTER", rules.CLOUD_READER, rules.ADMIN
    one = f"{base}/projects/{{project_id}}/endpoints/{{endpoint_id}}"
    group = f"{base}/endpoint_groups/{{endpoint_group_id}}"
    f = endpoint_filters
    yield Operation("PUT", one, f.add_endpoint, "identity:add_endpoint_to_project", write, status=204)
    yield Operation("GET", one, f.check_endpoint, "identity:check_endpoint_in_project", read, status=204)
    yield Operation("DELETE", one, f.remove_endpoint, "identity:remove_endpoint_from_project", write, status=204)
    yield Operation("GET", f"{base}/projects/{{project_id}}/endpoints", f.list_endpoints,
                    "identity:list_endpoints_for_project", read)
    yield Operation("GET", f"{base}/endpoints/{{endpoint_id}}/projects", f.list_projects,
                    "identity:list_projects_for_endpoint", read)
    yield Operation("POST", f"{base}/endpoint_groups", f.create, "identity:create_endpoint_group", write,
                    request=ENDPOINT_GROUP, verb="create", reply=ENDPOINT_GROUP, status=201)
    yield Operation("GET", f"{base}/endpoint_groups", f.list_, "identity:list_endpoint_groups", read,
                    filters=ENDPOINT_GROUP, reply=ENDPOINT_GROUP)
    yield Operation("GET", group, f.show, "identity:get_endpoint_group", read, reply=ENDPOINT_GROUP)
    yield Operation("PATCH", group, f.update, "identity:update_endpoint_group", write,
                    request=ENDPOINT_GROUP, verb="update", reply=ENDPOINT_GROUP)
    yield Operation("DELETE", group, f.delete, "identity:delete_endpoint_group", write, status=204)
    yield Operation("GET", f"{group}/endpoints", f.list_group_endpoints,
                    "identity:list_endpoints_associated_with_endpoint_group", read)
    yield Operation("GET", f"{group}/projects", f.list_group_projects,
                    "identity:list_projects_associated_with_endpoint_group", read)
    yield Operation("GET", f"{base}/projects/{{project_id}}/endpoint_groups", f.list_groups_of_project,
                    "identity:list_endpoint_groups_for_project", read)
    member = f"{group}/projects/{{project_id}}"
    yield Operation("PUT", member, f.add_project, "identity:add_endpoint_group_to_project", write, status=204)
    yield Operation("GET", member, f.check_project, "identity:get_endpoint_group_in_project", read)
    yield Operation("DELETE", member, f.remove_project, "identity:remove_endpoint_group_from_project", write,
              status=204)


def _federation() -> Iterator[Operation]:
    """OS-FEDERATION: who else may say who somebody is, and logins by them."""
    base, read, write = "/v3/OS-FEDERATION", rules.CLOUD_READER, rules.ADMIN
    nouns = (
        ("identity_providers", "{idp_id}", identity_providers, IDENTITY_PROVIDER),
        ("mappings", "{mapping_id}", mappings, MAPPING),
        ("service_providers", "{sp_id}", service_providers, SERVICE_PROVIDER),
    )
    for plural, id, handlers, noun in nouns:
        one, name = f"{base}/{plural}/{id}", plural[:-1]
        yield Operation("PUT", one, handlers.create, f"identity:create_{name}", write,
                        request=noun, verb="create", reply=noun, status=201)
        yield Operation("GET", f"{base}/{plural}", handlers.list_, f"identity:list_{plural}", read,
                        filters=noun, reply=noun)
        yield Operation("GET", one, handlers.show, f"identity:get_{name}", read, reply=noun)
        yield Operation("PATCH", one, handlers.update, f"identity:update_{name}", write,
                        request=noun, verb="update", reply=noun)
        yield Operation("DELETE", one, handlers.delete, f"identity:delete_{name}", write, status=204)
    of_idp = f"{base}/identity_providers/{{idp_id}}/protocols"
    one = f"{of_idp}/{{protocol_id}}"
    yield Operation("PUT", one, protocols.create, "identity:create_protocol", write,
                    request=PROTOCOL, verb="create", reply=PROTOCOL, status=201)
    yield Operation("GET", of_idp, protocols.list_, "identity:list_protocols", read)
    yield Operation("GET", one, protocols.show, "identity:get_protocol", read, reply=PROTOCOL)
    yield Operation("PATCH", one, protocols.update, "identity:update_protocol", write,
                    request=PROTOCOL, verb="update", reply=PROTOCOL)
    yield Operation("DELETE", one, protocols.delete, "identity:delete_protocol", write, status=204)
    yield Operation("GET", f"{one}/auth", federation.log_in, None, status=201)
    yield Operation("POST", f"{one}/auth", federation.log_in, None, status=201)
    web = "/v3/auth/OS-FEDERATION"
    yield Operation("GET", f"{web}/websso/{{protocol_id}}", websso.log_in, None)
    yield Operation("GET", f"{web}/identity_providers/{{idp_id}}/protocols/{{protocol_id}}/websso", websso.log_in_by,
                    None)
    yield Operation("GET", f"{base}/projects", federation.list_projects, "identity:get_auth_projects", rules.ANYBODY)
    yield Operation("GET", f"{base}/domains", federation.list_domains, "identity:get_auth_domains", rules.ANYBODY)


def _policy_associations() -> Iterator[Operation]:
    """OS-ENDPOINT-POLICY: {endpoint, service, service in a region} of policy documents. The administrator's."""
    base = "/v3/policies/{policy_id}/OS-ENDPOINT-POLICY"
    read, write = rules.CLOUD_READER, rules.ADMIN
    f = policy_associations
    for tail, name in (
        ("endpoints/{endpoint_id}", "endpoint"),
        ("services/{service_id}", "service"),
        ("services/{service_id}/regions/{region_id}", "region_and_service"),
    ):
        rule = f"identity:{{}}_policy_association_for_{name}"
        yield Operation("PUT", f"{base}/{tail}", f.create, rule.format("create"), write, status=204)
        yield Operation("GET", f"{base}/{tail}", f.check, rule.format("check"), read, status=204)
        yield Operation("DELETE", f"{base}/{tail}", f.delete, rule.format("delete"), write, status=204)
    yield Operation("GET", f"{base}/endpoints", f.list_endpoints, "identity:list_endpoints_for_policy", read)
    yield Operation("GET", "/v3/endpoints/{endpoint_id}/OS-ENDPOINT-POLICY/policy", f.show_policy,
                    "identity:get_policy_for_endpoint", read)


TABLE = Table("identity", [
    # discovery
    Operation("GET", "/", versions.list_, None, status=300),
    Operation("GET", "/v3", versions.show, None),

    # tokens
    Operation("POST", "/v3/auth/tokens", tokens.issue, None, request=AUTH, status=201),
    Operation("GET", "/v3/auth/tokens", tokens.show, "identity:validate_token", rules.TOKEN, check="handler"),
    Operation("DELETE", "/v3/auth/tokens", tokens.delete, "identity:revoke_token", rules.TOKEN_OWNER,
              check="handler", status=204),
    Operation("GET", "/v3/auth/catalog", tokens.catalog, "identity:get_auth_catalog", rules.ANYBODY),
    Operation("GET", "/v3/auth/projects", tokens.list_projects, "identity:get_auth_projects", rules.ANYBODY),
    Operation("GET", "/v3/auth/domains", tokens.list_domains, "identity:get_auth_domains", rules.ANYBODY),
    Operation("GET", "/v3/auth/system", tokens.list_systems, "identity:get_auth_system", rules.ANYBODY),
    Operation("GET", "/v3/OS-REVOKE/epoch", tokens.epoch, None),
    Operation("GET", "/v3/OS-REVOKE/events", tokens.list_revocations, "identity:list_revoke_events",
              rules.SERVICE_OR_READER),

    # OAuth 2.0
    Operation("POST", "/v3/OS-OAUTH2/token", oauth2.token, None, request="stream"),

    # domains
    Operation("POST", "/v3/domains", domains.create, "identity:create_domain", rules.ADMIN,
              request=DOMAIN, verb="create", reply=DOMAIN, status=201),
    Operation("GET", "/v3/domains", domains.list_, "identity:list_domains", rules.DOMAIN_READER,
              filters=DOMAIN, reply=DOMAIN),
    Operation("GET", "/v3/domains/{domain_id}", domains.show, "identity:get_domain",
              f"{rules.DOMAIN_READER} or project_domain_id:%(project_domain_id)s", check="handler", reply=DOMAIN),
    Operation("PATCH", "/v3/domains/{domain_id}", domains.update, "identity:update_domain", rules.ADMIN,
              request=DOMAIN, verb="update", reply=DOMAIN, check="handler"),
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
              filters=USER, extra_filters=_USER_FILTERS, reply=USER),
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
              request=ROLE, verb="create", reply=ROLE, status=201, check="handler"),
    Operation("GET", "/v3/roles", roles.list_, "identity:list_roles",
              rules.LIST_ROLES, filters=ROLE, reply=ROLE, check="handler"),
    Operation("GET", "/v3/roles/{role_id}", roles.show, "identity:get_role",
              rules.GET_ROLE, reply=ROLE, check="handler"),
    Operation("PATCH", "/v3/roles/{role_id}", roles.update, "identity:update_role", rules.ADMIN,
              request=ROLE, verb="update", reply=ROLE, check="handler"),
    Operation("DELETE", "/v3/roles/{role_id}", roles.delete, "identity:delete_role", rules.ADMIN,
              check="handler", status=204),
    Operation("GET", "/v3/role_inferences", roles.list_inferences, "identity:list_role_inference_rules",
              rules.CLOUD_READER),
    Operation("GET", "/v3/roles/{prior_role_id}/implies", roles.list_implied, "identity:list_implied_roles",
              rules.CLOUD_READER),
    Operation("PUT", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", roles.imply, "identity:create_implied_role",
              rules.ADMIN, status=201),
    Operation("GET", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", roles.show_implied,
              "identity:get_implied_role", rules.CLOUD_READER),
    Operation("HEAD", "/v3/roles/{prior_role_id}/implies/{implied_role_id}", roles.check_implied,
              "identity:check_implied_role", rules.CLOUD_READER, status=204),
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

    # what filters the catalog
    *_endpoint_filters(),

    # domain-specific configuration
    *_domain_config(),

    # application credentials
    Operation("POST", "/v3/users/{user_id}/application_credentials", application_credentials.create,
              "identity:create_application_credential", rules.SELF, request=APPLICATION_CREDENTIAL, verb="create",
              reply=APPLICATION_CREDENTIAL, status=201, check="handler"),
    Operation("GET", "/v3/users/{user_id}/application_credentials", application_credentials.list_,
              "identity:list_application_credentials", rules.SELF_OR_READER, filters=APPLICATION_CREDENTIAL,
              reply=APPLICATION_CREDENTIAL, check="handler"),
    Operation("GET", "/v3/users/{user_id}/application_credentials/{application_credential_id}",
              application_credentials.show, "identity:get_application_credential", rules.SELF_OR_READER,
              reply=APPLICATION_CREDENTIAL, check="handler"),
    Operation("DELETE", "/v3/users/{user_id}/application_credentials/{application_credential_id}",
              application_credentials.delete, "identity:delete_application_credential", rules.SELF_OR_ADMIN,
              check="handler", status=204),
    Operation("GET", "/v3/users/{user_id}/access_rules", application_credentials.list_rules,
              "identity:list_access_rules", rules.SELF_OR_SYSTEM_READER, filters=ACCESS_RULE, reply=ACCESS_RULE,
              check="handler"),
    Operation("GET", "/v3/users/{user_id}/access_rules/{access_rule_id}", application_credentials.show_rule,
              "identity:get_access_rule", rules.SELF_OR_SYSTEM_READER, reply=ACCESS_RULE, check="handler"),
    Operation("DELETE", "/v3/users/{user_id}/access_rules/{access_rule_id}", application_credentials.delete_rule,
              "identity:delete_access_rule", rules.SELF_OR_SYSTEM_ADMIN, check="handler", status=204),

    # credentials
    Operation("POST", "/v3/credentials", credentials.create, "identity:create_credential", rules.CREDENTIAL_OWNER,
              request=CREDENTIAL, verb="create", reply=CREDENTIAL, status=201, check="handler"),
    Operation("GET", "/v3/credentials", credentials.list_, "identity:list_credentials", rules.ANYBODY,
              filters=CREDENTIAL, reply=CREDENTIAL),
    Operation("GET", "/v3/credentials/{credential_id}", credentials.show, "identity:get_credential",
              rules.CREDENTIAL_READER, reply=CREDENTIAL, check="handler"),
    Operation("PATCH", "/v3/credentials/{credential_id}", credentials.update, "identity:update_credential",
              rules.CREDENTIAL_OWNER, request=CREDENTIAL, verb="update", reply=CREDENTIAL, check="handler"),
    Operation("DELETE", "/v3/credentials/{credential_id}", credentials.delete, "identity:delete_credential",
              rules.CREDENTIAL_OWNER, check="handler", status=204),
    Operation("POST", "/v3/users/{user_id}/credentials/OS-EC2", credentials.create_ec2,
              "identity:ec2_create_credential",
              rules.EC2_OWNER, request=EC2_CREATE, check="handler", status=201),
    Operation("GET", "/v3/users/{user_id}/credentials/OS-EC2", credentials.list_ec2, "identity:ec2_list_credentials",
              rules.EC2_READER, check="handler"),
    Operation("GET", "/v3/users/{user_id}/credentials/OS-EC2/{access}", credentials.show_ec2,
              "identity:ec2_get_credential", rules.EC2_READER, check="handler"),
    Operation("DELETE", "/v3/users/{user_id}/credentials/OS-EC2/{access}", credentials.delete_ec2,
              "identity:ec2_delete_credential", rules.EC2_OWNER, check="handler", status=204),
    Operation("POST", "/v3/ec2tokens", credentials.ec2_token, "identity:ec2_token", "rule:service", request=EC2_TOKEN),
    Operation("POST", "/v3/s3tokens", credentials.s3_token, "identity:s3_token", "rule:service", request=EC2_TOKEN),

    # trusts
    Operation("POST", "/v3/OS-TRUST/trusts", trusts.create, "identity:create_trust", "rule:trustor",
              request=TRUST, verb="create", reply=TRUST, status=201, check="handler"),
    Operation("GET", "/v3/OS-TRUST/trusts", trusts.list_, "identity:list_trusts", rules.TRUST_PARTY,
              filters=TRUST, reply=TRUST, check="handler"),
    Operation("GET", "/v3/OS-TRUST/trusts/{trust_id}", trusts.show, "identity:get_trust", rules.TRUST_PARTY,
              reply=TRUST, check="handler"),
    Operation("DELETE", "/v3/OS-TRUST/trusts/{trust_id}", trusts.delete, "identity:delete_trust",
              f"{rules.ADMIN} or rule:trustor", check="handler", status=204),
    Operation("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles", trusts.list_roles, "identity:list_roles_for_trust",
              rules.TRUST_PARTY, check="handler"),
    Operation("GET", "/v3/OS-TRUST/trusts/{trust_id}/roles/{role_id}", trusts.show_role, "identity:get_role_for_trust",
              rules.TRUST_PARTY, check="handler"),

    # federation
    *_federation(),

    # limits
    Operation("POST", "/v3/registered_limits", limits.create_registered, "identity:create_registered_limits",
              rules.ADMIN, request=many(REGISTERED_LIMIT), status=201),
    Operation("GET", "/v3/registered_limits", limits.list_registered, "identity:list_registered_limits", rules.ANYBODY,
              filters=REGISTERED_LIMIT, reply=REGISTERED_LIMIT),
    Operation("GET", "/v3/registered_limits/{registered_limit_id}", limits.show_registered,
              "identity:get_registered_limit", rules.ANYBODY, reply=REGISTERED_LIMIT),
    Operation("PATCH", "/v3/registered_limits/{registered_limit_id}", limits.update_registered,
              "identity:update_registered_limit", rules.ADMIN, request=REGISTERED_LIMIT, verb="update",
              reply=REGISTERED_LIMIT),
    Operation("DELETE", "/v3/registered_limits/{registered_limit_id}", limits.delete_registered,
              "identity:delete_registered_limit", rules.ADMIN, status=204),
    Operation("GET", "/v3/limits/model", limits.model, "identity:get_limit_model", rules.ANYBODY),
    Operation("POST", "/v3/limits", limits.create, "identity:create_limits", rules.ADMIN, request=many(LIMIT),
              status=201),
    Operation("GET", "/v3/limits", limits.list_, "identity:list_limits", rules.ANYBODY, filters=LIMIT,
              extra_filters=frozenset({"domain_id"}), reply=LIMIT),
    Operation("GET", "/v3/limits/{limit_id}", limits.show, "identity:get_limit",
              rules.LIMIT_READER, reply=LIMIT, check="handler"),
    Operation("PATCH", "/v3/limits/{limit_id}", limits.update, "identity:update_limit", rules.ADMIN,
              request=LIMIT, verb="update", reply=LIMIT),
    Operation("DELETE", "/v3/limits/{limit_id}", limits.delete, "identity:delete_limit", rules.ADMIN, status=204),

    # policy documents and OAuth consumers
    Operation("POST", "/v3/policies", policies.create, "identity:create_policy", rules.ADMIN,
              request=POLICY, verb="create", reply=POLICY, status=201),
    Operation("GET", "/v3/policies", policies.list_, "identity:list_policies", rules.CLOUD_READER,
              filters=POLICY, reply=POLICY),
    Operation("GET", "/v3/policies/{policy_id}", policies.show, "identity:get_policy", rules.CLOUD_READER,
              reply=POLICY),
    Operation("PATCH", "/v3/policies/{policy_id}", policies.update, "identity:update_policy", rules.ADMIN,
              request=POLICY, verb="update", reply=POLICY),
    Operation("DELETE", "/v3/policies/{policy_id}", policies.delete, "identity:delete_policy", rules.ADMIN, status=204),
    *_policy_associations(),
    Operation("POST", "/v3/OS-OAUTH1/consumers", policies.create_consumer, "identity:create_consumer", rules.ADMIN,
              request=CONSUMER, verb="create", reply=CONSUMER, status=201),
    Operation("GET", "/v3/OS-OAUTH1/consumers", policies.list_consumers, "identity:list_consumers", rules.CLOUD_READER,
              filters=CONSUMER, reply=CONSUMER),
    Operation("GET", "/v3/OS-OAUTH1/consumers/{consumer_id}", policies.show_consumer, "identity:get_consumer",
              rules.CLOUD_READER, reply=CONSUMER),
    Operation("PATCH", "/v3/OS-OAUTH1/consumers/{consumer_id}", policies.update_consumer, "identity:update_consumer",
              rules.ADMIN, request=CONSUMER, verb="update", reply=CONSUMER),
    Operation("DELETE", "/v3/OS-OAUTH1/consumers/{consumer_id}", policies.delete_consumer, "identity:delete_consumer",
              rules.ADMIN, status=204),
], dialect=dialects.keystone, prefixes=("/identity",), rules=rules.EXTRA_RULES,
   style=ListStyle(operators=frozenset(OPERATORS)))  # fmt: skip
