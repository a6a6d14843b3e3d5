# SPDX-License-Identifier: Apache-2.0
"""The compute service's refusals, worded as users of the compute API know them."""

from __future__ import annotations

from aerie_common import errors


class ServerNotFound(errors.NotFound):
    code = "server_not_found"
    template = "Instance {server_id} could not be found."


class FlavorNotFound(errors.NotFound):
    code = "flavor_not_found"
    template = "Flavor {flavor_id} could not be found."


class FlavorExists(errors.Conflict):
    code = "flavor_exists"
    template = "Flavor with {what} {value} already exists."


class FlavorUnusable(errors.BadRequest):
    """The flavor named in a request for a server cannot be had."""

    code = "flavor_unusable"
    template = "Flavor {flavor_id} could not be found."


class FlavorTooSmall(errors.BadRequest):
    code = "flavor_too_small"
    template = "Flavor's {what} is too small for requested image: it has {has}, the image needs {needs}."


class ExtraSpecNotFound(errors.NotFound):
    code = "extra_spec_not_found"
    template = "Flavor {flavor_id} has no extra specs with key {key}."


class FlavorAccessNotFound(errors.NotFound):
    code = "flavor_access_not_found"
    template = "Flavor access not found for {flavor_id} / {project_id} combination."


class FlavorAccessExists(errors.Conflict):
    code = "flavor_access_exists"
    template = "Flavor access already exists for flavor {flavor_id} and project {project_id} combination."


class ImageUnusable(errors.BadRequest):
    code = "image_unusable"
    template = "Invalid imageRef provided: image {image_id} could not be found."


class ImageNotActive(errors.BadRequest):
    code = "image_not_active"
    template = "Image {image_id} is not active: its status is {status}."


class NetworkUnusable(errors.BadRequest):
    code = "network_unusable"
    template = "Network {network_id} could not be found."


class PortUnusable(errors.BadRequest):
    code = "port_unusable"
    template = "Port {port_id} could not be found."


class PortInUse(errors.Conflict):
    code = "port_in_use"
    template = "Port {port_id} is still in use."


class NetworkAmbiguous(errors.Conflict):
    code = "network_ambiguous"
    template = "Multiple possible networks found, use a Network ID to be more specific."


class SecurityGroupUnusable(errors.BadRequest):
    code = "security_group_unusable"
    template = "Security group {group} not found for project {project_id}."


class SecurityGroupNotFound(errors.NotFound):
    code = "security_group_not_found"
    template = "Security group {group} not found for project {project_id}."


class GroupNotFound(errors.NotFound):
    code = "group_not_found"
    template = "Security group {group_id} could not be found."


class NetworkNotFound(errors.NotFound):
    code = "network_not_found"
    template = "Network not found"


class ImageNotFound(errors.NotFound):
    code = "image_not_found"
    template = "Image {image_id} could not be found."


class FloatingIpNotFound(errors.NotFound):
    code = "floating_ip_not_found"
    template = "Floating IP not found for ID {floating_ip_id}"


class FloatingIpPoolNotFound(errors.NotFound):
    code = "floating_ip_pool_not_found"
    template = "Floating IP pool not found."


class FloatingIpElsewhere(errors.Conflict):
    code = "floating_ip_elsewhere"
    template = "Floating IP {address} is not associated with instance {server_id}."


class ExtensionNotFound(errors.NotFound):
    code = "extension_not_found"
    template = "There is no extension {alias}."


class ShareNotFound(errors.NotFound):
    code = "share_not_found"
    template = "Share {share_id} is not attached to instance {server_id}."


class KeypairUnusable(errors.BadRequest):
    code = "keypair_unusable"
    template = "Invalid key_name provided."


class KeypairNotFound(errors.NotFound):
    code = "keypair_not_found"
    template = "Keypair {name} not found for user {user_id}"


class KeypairExists(errors.Conflict):
    code = "keypair_exists"
    template = "Key pair '{name}' already exists."


class InvalidKeypair(errors.BadRequest):
    code = "invalid_keypair"
    template = "Keypair data is invalid: {reason}"


class KeypairQuota(errors.OverQuota):
    code = "keypair_quota"
    template = "Quota exceeded, too many key pairs."


class ServerQuota(errors.OverQuota):
    """A claim for servers was more than the project may have."""

    code = "server_quota"
    template = "Quota exceeded for {overs}: Requested {requested}, but already used {used} of {limit} {overs}"


class MetadataQuota(errors.OverQuota):
    code = "metadata_quota"
    template = "Maximum number of metadata items exceeds {limit}"


class ServerGroupQuota(errors.OverQuota):
    code = "server_group_quota"
    template = "Quota exceeded, too many server groups."


class ServerGroupNotFound(errors.NotFound):
    code = "server_group_not_found"
    template = "Instance group {group_id} could not be found."


class ServerGroupUnusable(errors.BadRequest):
    code = "server_group_unusable"
    template = "Instance group {group_id} could not be found."


class InvalidState(errors.Conflict):
    code = "invalid_state"
    template = "Cannot '{action}' instance {server_id} while it is in {attribute} {state}"


class ServerLocked(errors.Conflict):
    code = "server_locked"
    template = "Instance {server_id} is locked"


class ServerNotReady(errors.Conflict):
    code = "server_not_ready"
    template = "Instance {server_id} is not ready"


class MetadataItemNotFound(errors.NotFound):
    code = "metadata_item_not_found"
    template = "Metadata item was not found"


class TagNotFound(errors.NotFound):
    code = "tag_not_found"
    template = "Server {server_id} has no tag '{tag}'"


class NetworkLabelNotFound(errors.NotFound):
    code = "network_label_not_found"
    template = "Instance does not have that network: {label}"


class InterfaceNotFound(errors.NotFound):
    code = "interface_not_found"
    template = "Port {port_id} is not attached to instance {server_id}"


class ActionNotFound(errors.NotFound):
    code = "action_not_found"
    template = "Action {request_id} could not be found."


class ServiceNotFound(errors.NotFound):
    code = "service_not_found"
    template = "Service {service_id} could not be found."


class HypervisorNotFound(errors.NotFound):
    code = "hypervisor_not_found"
    template = "Hypervisor with ID '{hypervisor_id}' could not be found."


class HostNotFound(errors.NotFound):
    code = "host_not_found"
    template = "Compute host {host} could not be found."


class HostUnusable(errors.BadRequest):
    code = "host_unusable"
    template = "Compute host {host} could not be found."


class AggregateNotFound(errors.NotFound):
    code = "aggregate_not_found"
    template = "Aggregate {aggregate_id} could not be found."


class AggregateExists(errors.Conflict):
    code = "aggregate_exists"
    template = "Aggregate {name} already exists."


class AggregateHostExists(errors.Conflict):
    code = "aggregate_host_exists"
    template = "Aggregate {aggregate_id} already has host {host}."


class AggregateHostNotFound(errors.NotFound):
    code = "aggregate_host_not_found"
    template = "Aggregate {aggregate_id} has no host {host}."


class AggregateInUse(errors.BadRequest):
    code = "aggregate_in_use"
    template = "Cannot remove host from aggregate {aggregate_id}. Reason: Host aggregate is not empty."


class ZoneUnusable(errors.BadRequest):
    code = "zone_unusable"
    template = "The requested availability zone is not available"


class ConsoleTypeUnavailable(errors.BadRequest):
    code = "console_type_unavailable"
    template = "Unavailable console type {kind}."


class AgentUnavailable(errors.Conflict):
    code = "agent_unavailable"
    template = "The host of instance {server_id} does not answer. Try again later."


class QuotaBelowUsage(errors.BadRequest):
    code = "quota_below_usage"
    template = "Quota limit {limit} for {resource} must be greater than or equal to already used and reserved {used}."


# -- placement


class ProviderNotFound(errors.NotFound):
    code = "provider_not_found"
    template = "No resource provider with uuid {provider_id} found"


class PlacementConflict(errors.Conflict):
    code = "placement_conflict"
    template = "There was a conflict: {reason}"
    placement_code = "placement.concurrent_update"


class ProviderExists(errors.Conflict):
    code = "provider_exists"
    template = "Conflicting resource provider {what}: {value} already exists."
    placement_code = "placement.duplicate_name"


class ProviderInUse(errors.Conflict):
    code = "provider_in_use"
    template = "Unable to delete resource provider {provider_id}: Resource provider has allocations."
    placement_code = "placement.resource_provider.inuse"


class InventoryInUse(errors.Conflict):
    code = "inventory_in_use"
    template = "Unable to change inventory of {provider_id}: {resource_class} is in use."
    placement_code = "placement.inventory.inuse"
