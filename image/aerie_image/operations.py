# SPDX-License-Identifier: Apache-2.0
"""Every HTTP operation of the image service."""

from aerie_common import dialects, policy, schema
from aerie_common.listing import ListStyle
from aerie_common.operations import Operation, Table
from aerie_image import errors, json_patch
from aerie_image.api import image_data, images, members, schemas, versions
from aerie_image.schemas import IMAGE, MEMBER

READ = "rule:admin or role:reader or role:service"
WRITE = "rule:admin or role:member or role:service"
IMAGES = "/v2/images"
ONE = "/v2/images/{image_id}"
PATCH_TYPES = frozenset({json_patch.V21, json_patch.V20})

TABLE = Table(
    "image",
    [
        Operation("GET", "/", versions.choices, None, status=300),
        Operation("GET", "/versions", versions.list_, None),
        Operation("GET", IMAGES, images.list_, "get_images", READ, filters=IMAGE),
        Operation("POST", IMAGES, images.create, "add_image", WRITE, request=IMAGE, verb="create", status=201),
        Operation("GET", ONE, images.show_, "get_image", READ, errors=(errors.ImageNotFound,)),
        Operation("PATCH", ONE, images.update, "modify_image", WRITE, request=schema.anything(), content_types=PATCH_TYPES,
                  errors=(errors.ImageNotFound,)),
        Operation("DELETE", ONE, images.delete, "delete_image", WRITE, status=204,
                  errors=(errors.ImageNotFound, errors.ImageProtected)),
        Operation("PUT", ONE + "/file", image_data.upload, "upload_image", WRITE, request="stream", status=204,
                  content_types=frozenset({"application/octet-stream"}),
                  errors=(errors.InvalidStatus, errors.ImageTooLarge, errors.UnsafeImage, errors.FormatMismatch)),
        Operation("GET", ONE + "/file", image_data.download, "download_image", READ,
                  errors=(errors.ImageNotFound, errors.ImageDeactivated, errors.RangeNotSatisfiable)),
        Operation("POST", ONE + "/actions/deactivate", images.deactivate, "deactivate", policy.ADMIN, status=204),
        Operation("POST", ONE + "/actions/reactivate", images.reactivate, "reactivate", policy.ADMIN, status=204),
        Operation("PUT", ONE + "/tags/{tag}", images.add_tag, "modify_image", WRITE, status=204),
        Operation("DELETE", ONE + "/tags/{tag}", images.remove_tag, "modify_image", WRITE, status=204),
        Operation("GET", ONE + "/members", members.list_, "get_members", READ),
        Operation("POST", ONE + "/members", members.create, "add_member", WRITE, request=MEMBER, verb="create",
                  errors=(errors.MemberExists,)),
        Operation("GET", ONE + "/members/{member_id}", members.show, "get_member", READ, errors=(errors.MemberNotFound,)),
        Operation("PUT", ONE + "/members/{member_id}", members.update, "modify_member", WRITE, request=MEMBER, verb="update",
                  errors=(errors.MemberNotFound,)),
        Operation("DELETE", ONE + "/members/{member_id}", members.delete, "delete_member", WRITE, status=204,
                  errors=(errors.MemberNotFound,)),
        Operation("GET", "/v2/schemas/image", schemas.image, "get_images", READ),
        Operation("GET", "/v2/schemas/images", schemas.images, "get_images", READ),
        Operation("GET", "/v2/schemas/member", schemas.member, "get_images", READ),
        Operation("GET", "/v2/schemas/members", schemas.members, "get_images", READ),
        Operation("GET", "/v2/info/stores", versions.stores, "stores_info_detail", READ),
        Operation("GET", "/v2/info/import", versions.imports, "get_images", READ),
    ],
    dialect=dialects.glance,
    style=ListStyle(unknown="ignore", max_limit=1000),
    prefixes=("/image",),
    rules=(
        ("publicize_image", policy.ADMIN, "Make an image visible to everybody."),
        ("communitize_image", WRITE, "Make an image usable by whoever knows it."),
    ),
)  # fmt: skip
