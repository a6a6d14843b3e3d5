# SPDX-License-Identifier: Apache-2.0
"""The network service's refusals. Class names are the `type` that clients of the Neutron API look at."""

from __future__ import annotations

from typing import Any

from aerie_common import dialects
from aerie_common import errors as common
from aerie_common.errors import AerieError, BadRequest, Conflict, InvalidField, NotFound, ServiceUnavailable

_GENERIC = {
    400: "HTTPBadRequest",
    401: "HTTPUnauthorized",
    403: "HTTPForbidden",
    404: "HTTPNotFound",
    405: "HTTPMethodNotAllowed",
    412: "HTTPPreconditionFailed",
    413: "HTTPRequestEntityTooLarge",
    415: "HTTPUnsupportedMediaType",
    500: "HTTPInternalServerError",
    503: "HTTPServiceUnavailable",
}


def dialect(error: AerieError, request_id: str) -> Any:
    """Neutron's wording; refusals that are common to all services take the names of WebOb's classes."""
    body = dialects.neutron(error, request_id)
    if type(error).__module__ == common.__name__ and not isinstance(error, common.PolicyNotAuthorized):
        body["NeutronError"]["type"] = _GENERIC.get(error.status, type(error).__name__)
    if isinstance(error, InvalidField):
        body["NeutronError"]["type"] = "InvalidInput"
    return body


# ------------------------------------------------------------------------------------------------- general


class InvalidInput(BadRequest):
    template = "Invalid input for operation: {error_message}."


class AdminRequired(BadRequest):
    template = (
        "Specifying 'project_id' or 'tenant_id' other than the authenticated project in request requires admin "
        "privileges"
    )


class OverQuota(Conflict):
    code = "over_quota"
    template = "Quota exceeded for resources: {overs}."


class InUse(Conflict):
    template = "The resource is in use."


class RevisionNumberConstraintFailed(AerieError):
    status, code = 412, "precondition_failed"
    template = "Constrained to {expected}, but current revision is {current}"


class TagNotFound(NotFound):
    template = "Tag {tag} could not be found."


class ExtensionNotFound(NotFound):
    template = "Extension with alias {alias} does not exist"


# ------------------------------------------------------------------------------------------------- networks


class NetworkNotFound(NotFound):
    template = "Network {id} could not be found."


class NetworkInUse(InUse):
    template = (
        "Unable to complete operation on network {id}. "
        "There are one or more ports still in use on the network, id for these ports is: {ports}."
    )


class InvalidSharedSetting(Conflict):
    template = "Unable to reconfigure sharing settings for network {id}. Multiple tenants are using it."


class ExternalNetworkInUse(InUse):
    template = "External network {id} cannot be updated to be made non-external, since it has existing gateway ports."


class NoNetworkAvailable(ServiceUnavailable):
    template = "Unable to create the network. No tenant network is available for allocation."


class SegmentInUse(Conflict):
    template = "Unable to create the network. The segment {segment} is in use by another network."

    @property
    def type_name(self) -> str:
        return str(self.details.get("kind", "SegmentInUse"))


# -------------------------------------------------------------------------------------------------- subnets


class SubnetNotFound(NotFound):
    template = "Subnet {id} could not be found."


class NetworkMTUSubnetConflict(Conflict):
    template = "MTU of {mtu} is not valid for network {network}: a subnet of IPv{version} needs {needed}."


class AddressScopePrefixConflict(Conflict):
    template = "Failed to associate address scope: subnetpools within an address scope must have unique prefixes."


class SubnetInUse(InUse):
    template = "Unable to complete operation on subnet {id}: One or more ports have an IP allocation from this subnet."


class GatewayIpInUse(InUse):
    template = "Current gateway ip {ip} already in use by port {port}. Unable to update."


class GatewayConflictWithAllocationPools(InUse):
    template = "Gateway ip {ip} conflicts with allocation pool {pool}."


class InvalidAllocationPool(BadRequest):
    template = "The allocation pool {pool} is not valid."


class OverlappingAllocationPools(Conflict):
    template = "Found overlapping allocation pools: {one} {other} for subnet {cidr}."


class OutOfBoundsAllocationPool(BadRequest):
    template = "The allocation pool {pool} spans beyond the subnet cidr {cidr}."


class DNSNameServersExhausted(BadRequest):
    template = "Unable to complete operation for subnet. The number of DNS nameservers exceeds the limit {limit}."


class HostRoutesExhausted(BadRequest):
    template = "Unable to complete operation for subnet. The number of host routes exceeds the limit {limit}."


# ---------------------------------------------------------------------------------------------------- ports


class PortNotFound(NotFound):
    template = "Port {id} could not be found."


class PortInUse(InUse):
    template = (
        "Unable to complete operation on port {id} for network {network}. Port already has an attached device {device}."
    )


class ServicePortInUse(InUse):
    template = "Port {id} cannot be deleted directly via the port API: {reason}."


class PortBound(InUse):
    template = (
        "Unable to complete operation on port {id}, port is already bound, port type: {vif_type}, "
        "old_mac {old}, new_mac {new}."
    )


class MacAddressInUse(InUse):
    template = "Unable to complete operation for network {network}. The mac address {mac} is in use."


class IpAddressAlreadyAllocated(Conflict):
    template = "IP address {ip} already allocated in subnet {subnet}"


class IpAddressGenerationFailure(Conflict):
    template = "No more IP addresses available on network {network}."


class InvalidIpForNetwork(BadRequest):
    template = "IP address {ip} is not a valid IP for any of the subnets on the specified network."


class InvalidIpForSubnet(BadRequest):
    template = "IP address {ip} is not a valid IP for the specified subnet."


class InvalidIpAddressPairs(BadRequest):
    template = "Invalid format: {reason}."


class AddressPairAndPortSecurityRequired(Conflict):
    template = "Port Security must be enabled in order to have allowed address pairs on a port."


class PortSecurityAndIPRequiredForSecurityGroups(BadRequest):
    template = "Port security must be enabled and port must have an IP address in order to use security groups."


class PortSecurityPortHasSecurityGroup(InUse):
    template = (
        "Port has security group associated. Cannot disable port security or IP address until security group is "
        "removed."
    )


# -------------------------------------------------------------------------------------------------- routers


class RouterNotFound(NotFound):
    template = "Router {id} could not be found"


class RouterInUse(InUse):
    template = "Router {id} still has ports"


class RouterInterfaceNotFound(NotFound):
    template = "Router {router} does not have an interface with id {port}"


class RouterInterfaceNotFoundForSubnet(NotFound):
    template = "Router {router} has no interface on subnet {subnet}"


class RouterInterfaceInUseByFloatingIP(InUse):
    template = (
        "Router interface for subnet {subnet} on router {router} cannot be deleted, "
        "as it is required by one or more floating IPs."
    )


class RouterInterfaceInUseByRoute(InUse):
    template = (
        "Router interface for subnet {subnet} on router {router} cannot be deleted, as it is required by one or more "
        "routes."
    )


class RouterExternalGatewayInUseByFloatingIp(InUse):
    template = (
        "Gateway cannot be updated for router {router}, since a gateway to external network {network} is required by "
        "one or more floating IPs."
    )


class InvalidRoutes(BadRequest):
    template = "Invalid format for routes: {routes}, {reason}"


class RoutesExhausted(BadRequest):
    template = "Unable to complete operation for {router}. The number of routes exceeds the maximum {limit}."


# ---------------------------------------------------------------------------------------------- floating IPs


class FloatingIPNotFound(NotFound):
    template = "Floating IP {id} could not be found"


class ExternalGatewayForFloatingIPNotFound(NotFound):
    template = (
        "External network {network} is not reachable from subnet {subnet}. "
        "Therefore, cannot associate Port {port} with a Floating IP."
    )


class FloatingIPPortAlreadyAssociated(InUse):
    template = (
        "Cannot associate floating IP {address} ({id}) with port {port} using fixed IP {fixed_ip}, as that fixed IP "
        "already has a floating IP on external network {network}."
    )


class FipInUseByPortForwarding(InUse):
    template = "Floating IP {id} in use by Port Forwarding resources."


class PortHasBindingFloatingIP(InUse):
    template = (
        "Cannot create port forwarding to floating IP {address} ({id}) with port {port} using fixed IP {fixed_ip}, as "
        "that port already has a binding floating IP."
    )


class PortHasPortForwarding(InUse):
    template = (
        "Cannot associate floating IP {address} ({id}) with port {port} using fixed IP {fixed_ip}, as that port "
        "already has a Port Forwarding binding."
    )


class PortForwardingNotFound(NotFound):
    template = "Port Forwarding {id} could not be found."


# ------------------------------------------------------------------------------------------- security groups


class SecurityGroupNotFound(NotFound):
    template = "Security group {id} does not exist"


class SecurityGroupRuleNotFound(NotFound):
    template = "Security group rule {id} does not exist"


class SecurityGroupInUse(InUse):
    template = "Security Group {id} in use."


class SecurityGroupCannotRemoveDefault(InUse):
    template = "Insufficient rights for removing default security group."


class SecurityGroupCannotUpdateDefault(InUse):
    template = "Updating default security group not allowed."


class SecurityGroupDefaultAlreadyExists(InUse):
    template = "Default security group already exists."


class SecurityGroupConflict(Conflict):
    template = "Error {reason} while attempting the operation."


class DefaultSecurityGroupRuleExists(InUse):
    template = "Default Security group rule already exists. Rule id is {id}."


class SecurityGroupRuleExists(InUse):
    template = "Security group rule already exists. Rule id is {id}."


class SecurityGroupInvalidPortRange(BadRequest):
    template = "For TCP/UDP protocols, port_range_min must be <= port_range_max"


class SecurityGroupInvalidPortValue(BadRequest):
    template = "Invalid value for port {port}"


class SecurityGroupInvalidIcmpValue(BadRequest):
    template = "Invalid value for ICMP {field} ({attr}) {value}. It must be 0 to 255."


class SecurityGroupMissingIcmpType(BadRequest):
    template = "ICMP code (port-range-max) {value} is provided but ICMP type (port-range-min) is missing."


class SecurityGroupInvalidProtocolForPort(BadRequest):
    template = "Invalid protocol {protocol} for port range, only supported for TCP, UDP, UDPLITE, SCTP and DCCP."


class SecurityGroupRuleInvalidProtocol(BadRequest):
    template = (
        "Security group rule protocol {protocol} not supported. Only protocol names and integers 0 to 255 are "
        "supported."
    )


class SecurityGroupRuleInvalidEtherType(BadRequest):
    template = "Security group rule for ethertype '{ethertype}' not supported. Allowed values are {values}."


class SecurityGroupRuleParameterConflict(BadRequest):
    template = "Conflicting value ethertype {ethertype} for CIDR {cidr}"


class SecurityGroupEthertypeConflictWithProtocol(BadRequest):
    template = "Invalid ethertype {ethertype} for protocol {protocol}."


class SecurityGroupRemoteGroupAndRemoteIpPrefix(BadRequest):
    template = "Only remote_ip_prefix or remote_group_id or remote_address_group_id may be provided."


class SecurityGroupsStatefulInUse(InUse):
    template = "Security group {id} is in use by ports; its stateful attribute cannot change."

    type_name = "SecurityGroupInUse"


class AddressGroupNotFound(NotFound):
    template = "Address group {id} could not be found."


class AddressesNotFound(NotFound):
    template = "Addresses {addresses} not found in the address group {id}."


class AddressGroupInUse(InUse):
    template = "Address group {id} is in use on one or more security group rules."


# --------------------------------------------------------------------------------------------------- agents


class AgentNotFound(NotFound):
    template = "Agent {id} could not be found."


class InvalidDHCPAgent(BadRequest):
    template = "Agent {id} is not a valid DHCP Agent or has been disabled."


class InvalidL3Agent(Conflict):
    template = "Agent {id} is not a L3 Agent or has been disabled."


class NetworkHostedByDHCPAgent(Conflict):
    template = "The network {network} has been already hosted by the DHCP Agent {agent}."


class NetworkNotHostedByDhcpAgent(Conflict):
    template = "The network {network} is not hosted by the DHCP agent {agent}."


class RouterHostedByL3Agent(Conflict):
    template = "The router {router} has been already hosted by the L3 Agent {agent}."


class RouterNotHostedByL3Agent(Conflict):
    template = "The router {router} is not hosted by L3 agent {agent}."


# ---------------------------------------------------------------------------------------------- subnet pools


class SubnetPoolNotFound(NotFound):
    template = "Subnet pool {id} could not be found."


class SubnetPoolInUse(InUse):
    template = "Unable to complete operation on subnet pool {id}. Subnet pool has existing allocations."

    type_name = "SubnetPoolDeleteError"


class SubnetAllocationError(Conflict):
    template = "Failed to allocate subnet: {reason}."


class MinPrefixSubnetAllocationError(BadRequest):
    template = "Unable to allocate subnet with prefix length {prefix}, minimum allowed prefix is {limit}."


class MaxPrefixSubnetAllocationError(BadRequest):
    template = "Unable to allocate subnet with prefix length {prefix}, maximum allowed prefix is {limit}."


class AddressScopeNotFound(NotFound):
    template = "Address scope {id} could not be found"


class AddressScopeInUse(InUse):
    template = (
        "Unable to complete operation on address scope {id}. There are one or more subnet pools in use on the "
        "address scope"
    )


class RbacPolicyNotFound(NotFound):
    template = "RBAC policy with ID {id} not found"


class RbacPolicyInUse(InUse):
    template = "RBAC policy on object {object} cannot be removed because other objects depend on it."


class DuplicateRbacPolicy(Conflict):
    template = "An RBAC policy already exists with those values."


class AutoAllocationFailure(BadRequest):
    template = "Deployment error: {reason}."
