# SPDX-License-Identifier: Apache-2.0
"""The refusals of the DNS API; `code` is what clients see as `type`, and never changes."""

from aerie_common import errors


class ZoneNotFound(errors.NotFound):
    code, template = "zone_not_found", "Could not find Zone"


class RecordSetNotFound(errors.NotFound):
    code, template = "recordset_not_found", "Could not find RecordSet"


class PoolNotFound(errors.NotFound):
    code, template = "pool_not_found", "Could not find Pool"


class TsigKeyNotFound(errors.NotFound):
    code, template = "tsigkey_not_found", "Could not find TsigKey"


class TldNotFound(errors.NotFound):
    code, template = "tld_not_found", "Could not find Tld"


class BlacklistNotFound(errors.NotFound):
    code, template = "blacklist_not_found", "Could not find Blacklist"


class ServiceStatusNotFound(errors.NotFound):
    code, template = "service_status_not_found", "Could not find ServiceStatus"


class TransferRequestNotFound(errors.NotFound):
    code, template = "zone_transfer_request_not_found", "Could not find ZoneTransferRequest"


class TransferAcceptNotFound(errors.NotFound):
    code, template = "zone_transfer_accept_not_found", "Could not find ZoneTransferAccept"


class SharedZoneNotFound(errors.NotFound):
    code, template = "shared_zone_not_found", "Could not find SharedZone"


class ImportNotFound(errors.NotFound):
    code, template = "zone_import_not_found", "Could not find ZoneImport"


class ExportNotFound(errors.NotFound):
    code, template = "zone_export_not_found", "Could not find ZoneExport"


class FloatingIpNotFound(errors.NotFound):
    template = "Floating IP {id} could not be found in region {region}"


class DuplicateZone(errors.Conflict):
    code, template = "duplicate_zone", "Duplicate Zone"


class DuplicateRecordSet(errors.Conflict):
    code, template = "duplicate_recordset", "Duplicate RecordSet"


class DuplicateTsigKey(errors.Conflict):
    code, template = "duplicate_tsigkey", "Duplicate TsigKey"


class DuplicateTld(errors.Conflict):
    code, template = "duplicate_tld", "Duplicate Tld"


class DuplicateBlacklist(errors.Conflict):
    code, template = "duplicate_blacklist", "Duplicate Blacklist"


class DuplicateTransferRequest(errors.Conflict):
    code, template = "duplicate_zone_transfer_request", "Duplicate ZoneTransferRequest"


class DuplicateSharedZone(errors.Conflict):
    code, template = "duplicate_shared_zone", "Duplicate SharedZone"


class OverQuota(errors.OverQuota):
    status = 413
    template = "Quota exceeded for {resource}: {limit} are allowed."


class InvalidUuid(errors.BadRequest):
    code, template = "invalid_uuid", "Invalid UUID {name}: {value}"


class InvalidZoneName(errors.BadRequest):
    code = "invalid_zone_name"


class InvalidRecordSetLocation(errors.BadRequest):
    code = "invalid_recordset_location"


class InvalidTtl(errors.BadRequest):
    code, template = "invalid_ttl", "TTL is below the minimum: {minimum}"


class InvalidTransfer(errors.BadRequest):
    code = "invalid_zone_transfer_request"


class IncorrectTransferKey(errors.Forbidden):
    code, template = "invalid_key", "Key does not match stored key for request"


class IllegalChildZone(errors.Forbidden):
    code, template = "illegal_child", "Unable to create subzone in another tenants zone"


class IllegalParentZone(errors.Forbidden):
    code, template = "illegal_parent", "Unable to create zone because another tenant owns a subzone of the zone"


class ZoneHasSubZone(errors.BadRequest):
    code, template = "zone_has_sub_zone", "Please delete any subzones before deleting this zone"


class ZoneIsShared(errors.BadRequest):
    code, template = (
        "zone_is_shared",
        "Zone is shared. Please unshare it first, or ask for its shares to be deleted with it",
    )


class SharedZoneHasRecordSets(errors.BadRequest):
    code, template = "shared_zone_has_recordsets", "The project the zone is shared with still has record sets in it"


class InvalidMarker(errors.BadRequest):
    code, template = "invalid_marker", "Invalid UUID marker: {marker}"


class MarkerNotFound(errors.BadRequest):
    code, template = "marker_not_found", "Marker {marker} could not be found"


class InvalidLimit(errors.BadRequest):
    code, template = "invalid_limit", "limit must be a positive whole number or max, not {limit!r}"


class InvalidSortKey(errors.BadRequest):
    code, template = "invalid_sort_key", "sort key must be one of {known}, not {key!r}"


class InvalidSortDir(errors.BadRequest):
    code, template = "invalid_sort_dir", "sort direction must be asc or desc, not {direction!r}"


class MissingProject(errors.BadRequest):
    status, code = 401, "missing_project_id"
    template = "The all-projects flag must be used when using non-project scoped tokens."


class UnsupportedAccept(errors.BadRequest):
    status, code, template = 406, "unsupported_accept", "A zone file is text/dns"


class UnsupportedContentType(errors.UnsupportedMediaType):
    code, template = "unsupported_content_type", "Content-type must be text/dns or application/json"
