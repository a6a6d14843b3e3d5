# SPDX-License-Identifier: Apache-2.0
"""What the image service refuses."""

from aerie_common import errors


class ImageNotFound(errors.NotFound):
    code = "image_not_found"
    template = "Failed to find image {image_id}"


class MemberNotFound(errors.NotFound):
    code = "member_not_found"
    template = "{member_id} is not a member of image {image_id}"


class MemberExists(errors.Conflict):
    template = "{member_id} is a member of image {image_id} already"


class ImageExists(errors.Conflict):
    code = "duplicate_image"
    template = "Image ID {image_id} already exists!"


class ImageProtected(errors.Forbidden):
    template = "Image {image_id} is protected and cannot be deleted. Set protected to false first."


class InvalidStatus(errors.Conflict):
    code = "invalid_status"
    template = "Image {image_id} is {status}: it has to be {wanted} for this."


class ImageDeactivated(errors.Forbidden):
    template = "The image {image_id} is deactivated: its data cannot be downloaded."


class ImageTooLarge(errors.TooLarge):
    template = "The image is larger than the limit of {limit} bytes."


class OverLimit(errors.TooLarge):
    code = "over_limit"
    template = "The project is over its limit {resource}: {used} of {limit} are used."


class UnsafeImage(errors.UnsupportedMediaType):
    code = "unsafe_image"
    template = "The content is refused: {reason}"


class FormatMismatch(errors.UnsupportedMediaType):
    code = "format_mismatch"
    template = "The content is {found}, not {declared} as disk_format says."


class ReservedProperty(errors.Forbidden):
    template = "The attribute {name} is reserved and cannot be set."


class ReadOnlyProperty(errors.Forbidden):
    template = "The attribute {name} is read-only."


class RangeNotSatisfiable(errors.AerieError):
    status, code = 416, "range_not_satisfiable"
    template = "The range {range} lies outside the image of {size} bytes."


class StoreFull(errors.AerieError):
    status, code = 507, "store_full"
    template = "There is not enough space left to store the image."


class StoreUnavailable(errors.ServiceUnavailable):
    template = "The store {store} does not answer. Try again later."


class StoreDenied(errors.ServiceUnavailable):
    template = "Insufficient permissions on the image storage media of store {store}."


class StoreGone(errors.Gone):
    template = (
        "Error in store configuration: the place of the store {store} does not exist, nothing can be stored there."
    )


class DataGone(errors.Gone):
    template = "The data of image {image_id} is not where it was stored any more."


class NoCache(errors.NotFound):
    template = "Caching via API is not supported at this site."


class NotCached(errors.NotFound):
    template = "Image {image_id} not found."


class TagNotFound(errors.NotFound):
    template = "The image has no tag {tag}."


class NotInStore(errors.NotFound):
    template = "Image {image_id} has no data in the store {store}."


class UnsafeUrl(errors.BadRequest):
    template = "URI {uri} does not pass filtering: {reason}."


class TaskNotFound(errors.NotFound):
    template = "Task not found with id {task_id}"


class NamespaceNotFound(errors.NotFound):
    template = "Metadata definition namespace={namespace} was not found."


class NamespaceExists(errors.Conflict):
    template = "The metadata definition namespace={namespace} already exists."


class NamespaceProtected(errors.Forbidden):
    template = "Metadata definition namespace {namespace} is protected and cannot be deleted."


class DefinitionNotFound(errors.NotFound):
    template = "The metadata definition {kind} with name={name} was not found in namespace={namespace}."


class DefinitionExists(errors.Conflict):
    template = "A metadata definition {kind} with name={name} already exists in namespace={namespace}."
