# SPDX-License-Identifier: Apache-2.0
"""Every HTTP operation of the image service."""

from aerie_common import dialects, policy, schema
from aerie_common.fields import Resource
from aerie_common.listing import ListStyle
from aerie_common.operations import Operation, Table
from aerie_image import errors, json_patch
from aerie_image.api import cached_images, image_data, images, locations, members, metadefs, schemas, tasks, versions
from aerie_image.schemas import (
    ASSOCIATION,
    IMAGE,
    IMPORT,
    LOCATION,
    MEMBER,
    NAMESPACE,
    OBJECT,
    PROPERTY,
    TAG,
    TAGS,
    TASK,
)

READ = "rule:admin or role:reader or role:service"
WRITE = "rule:admin or role:member or role:service"
SERVICE = "role:service or service_roles:service"
IMAGES = "/v2/images"
ONE = "/v2/images/{image_id}"
SCHEMAS = (
    ("namespace", "namespace", "namespaces"),
    ("object", "object", "objects"),
    ("property", "property", "properties"),
    ("tag", "tag", "tags"),
    ("resource_type", "resource_type", "resource_types"),
)
DEFS = "/v2/metadefs/namespaces"
NAMED = DEFS + "/{namespace}"
PATCH_TYPES = frozenset({json_patch.V21, json_patch.V20})


def _definitions(kind: str, place: str, resource: Resource) -> list[Operation]:
    """The operations on the objects, properties or tags of namespaces."""
    every, one = f"{NAMED}/{place}", f"{NAMED}/{place}/{{name}}"
    absent = (errors.NamespaceNotFound, errors.DefinitionNotFound)
    return [
        Operation("GET", every, metadefs.lister(kind), f"get_metadef_{place}", READ, errors=absent),
        Operation("DELETE", every, metadefs.eraser(kind), f"delete_metadef_{place}", policy.ADMIN, status=204,
                  errors=absent),
        Operation("GET", one, metadefs.shower(kind), f"get_metadef_{kind}", READ, errors=absent),
        Operation("PUT", one, metadefs.updater(kind), f"modify_metadef_{kind}", policy.ADMIN, request=resource,
                  verb="update", errors=(*absent, errors.DefinitionExists)),
        Operation("DELETE", one, metadefs.deleter(kind), f"delete_metadef_{kind}", policy.ADMIN, status=204,
                  errors=absent),
    ]  # fmt: skip


TABLE = Table(
    "image",
    [
        Operation("GET", "/", versions.choices, None, status=300),
        Operation("GET", "/versions", versions.list_, None),
        Operation("GET", IMAGES, images.list_, "get_images", READ, filters=IMAGE),
        Operation("POST", IMAGES, images.create, "add_image", WRITE, request=IMAGE, verb="create", status=201),
        Operation("GET", ONE, images.show_, "get_image", READ, errors=(errors.ImageNotFound,)),
        Operation("PATCH", ONE, images.update, "modify_image", WRITE, request=schema.anything(),
                  content_types=PATCH_TYPES, errors=(errors.ImageNotFound,)),
        Operation("DELETE", ONE, images.delete, "delete_image", WRITE, status=204,
                  errors=(errors.ImageNotFound, errors.ImageProtected)),
        Operation("PUT", ONE + "/file", image_data.upload, "upload_image", WRITE, request="stream", status=204,
                  content_types=frozenset({"application/octet-stream"}),
                  errors=(errors.InvalidStatus, errors.ImageTooLarge, errors.UnsafeImage, errors.FormatMismatch)),
        Operation("GET", ONE + "/file", image_data.download, "download_image", READ,
                  errors=(errors.ImageNotFound, errors.ImageDeactivated, errors.RangeNotSatisfiable)),
        Operation("POST", ONE + "/actions/deactivate", images.deactivate, "deactivate", WRITE, status=204),
        Operation("POST", ONE + "/actions/reactivate", images.reactivate, "reactivate", WRITE, status=204),
        Operation("PUT", ONE + "/tags/{tag}", images.add_tag, "modify_image", WRITE, status=204),
        Operation("DELETE", ONE + "/tags/{tag}", images.remove_tag, "modify_image", WRITE, status=204),
        Operation("GET", ONE + "/members", members.list_, "get_members", READ),
        Operation("POST", ONE + "/members", members.create, "add_member", WRITE, request=MEMBER, verb="create",
                  errors=(errors.MemberExists,)),
        Operation("GET", ONE + "/members/{member_id}", members.show, "get_member", READ,
                  errors=(errors.MemberNotFound,)),
        Operation("PUT", ONE + "/members/{member_id}", members.update, "modify_member", WRITE, request=MEMBER,
                  verb="update", errors=(errors.MemberNotFound,)),
        Operation("DELETE", ONE + "/members/{member_id}", members.delete, "delete_member", WRITE, status=204,
                  errors=(errors.MemberNotFound,)),
        Operation("GET", "/v2/schemas/image", schemas.image, "get_images", READ),
        Operation("GET", "/v2/schemas/images", schemas.images, "get_images", READ),
        Operation("GET", "/v2/schemas/member", schemas.member, "get_images", READ),
        Operation("GET", "/v2/schemas/members", schemas.members, "get_images", READ),
        Operation("GET", "/v2/schemas/task", schemas.task, "get_images", READ),
        Operation("GET", "/v2/schemas/tasks", schemas.tasks, "get_images", READ),
        *(
            Operation("GET", f"/v2/schemas/metadefs/{one}", schemas.metadef(kind), "get_images", READ)
            for kind, one, _ in SCHEMAS
        ),
        *(
            Operation("GET", f"/v2/schemas/metadefs/{many}", schemas.metadefs(kind), "get_images", READ)
            for kind, _, many in SCHEMAS
        ),
        Operation("GET", "/v2/info/stores", versions.stores, "get_images", READ),
        Operation("GET", "/v2/info/stores/detail", versions.stores_detail, "stores_info_detail", policy.ADMIN),
        Operation("GET", "/v2/info/import", versions.imports, "get_images", READ),
        Operation("GET", "/v2/info/usage", versions.usage, "get_images", READ),
        Operation("PUT", ONE + "/stage", image_data.stage, "modify_image", WRITE, request="stream", status=204,
                  content_types=frozenset({"application/octet-stream"}),
                  errors=(errors.InvalidStatus, errors.ImageTooLarge)),
        Operation("POST", ONE + "/import", tasks.import_, "import_image", WRITE, request=IMPORT, status=202,
                  errors=(errors.InvalidStatus, errors.UnsafeUrl)),
        Operation("GET", ONE + "/locations", locations.list_, "fetch_image_location", SERVICE,
                  errors=(errors.ImageNotFound,)),
        Operation("POST", ONE + "/locations", locations.create, "add_image_location", WRITE, request=LOCATION,
                  status=202, errors=(errors.ImageNotFound, errors.InvalidStatus, errors.UnsafeUrl)),
        Operation("GET", ONE + "/tasks", tasks.of_image, "get_image", READ, errors=(errors.ImageNotFound,)),
        Operation("DELETE", "/v2/stores/{store_id}/{image_id}", image_data.delete_from_store, "delete_image_location",
                  policy.ADMIN, status=204, errors=(errors.NotInStore, errors.InvalidStatus)),
        Operation("GET", "/v2/cache", cached_images.list_, "cache_list", policy.ADMIN, errors=(errors.NoCache,)),
        Operation("DELETE", "/v2/cache", cached_images.clear, "cache_delete", policy.ADMIN, status=204,
                  errors=(errors.NoCache,)),
        Operation("PUT", "/v2/cache/{image_id}", cached_images.create, "cache_image", policy.ADMIN, status=202,
                  errors=(errors.NoCache, errors.ImageNotFound)),
        Operation("DELETE", "/v2/cache/{image_id}", cached_images.delete, "cache_delete", policy.ADMIN, status=204,
                  errors=(errors.NoCache, errors.NotCached)),
        Operation("POST", "/v2/cache/clean", cached_images.clean, "cache_clean", policy.ADMIN,
                  errors=(errors.NoCache,)),
        Operation("POST", "/v2/cache/prune", cached_images.prune, "cache_prune", policy.ADMIN,
                  errors=(errors.NoCache,)),
        Operation("GET", "/v2/cache/nodes/{image_id}", cached_images.nodes, "list_cached_nodes", policy.ADMIN,
                  errors=(errors.NoCache, errors.ImageNotFound)),
        Operation("GET", "/v2/tasks", tasks.list_, "tasks_api_access", policy.ADMIN, filters=TASK),
        Operation("POST", "/v2/tasks", tasks.create, "tasks_api_access", policy.ADMIN, request=TASK, verb="create",
                  status=201, errors=(errors.UnsafeUrl,)),
        Operation("GET", "/v2/tasks/{task_id}", tasks.show_, "tasks_api_access", policy.ADMIN,
                  errors=(errors.TaskNotFound,)),
        Operation("GET", "/v2/metadefs/resource_types", metadefs.resource_types, "list_metadef_resource_types", READ),
        Operation("GET", DEFS, metadefs.list_, "get_metadef_namespaces", READ, filters=NAMESPACE),
        Operation("POST", DEFS, metadefs.create, "add_metadef_namespace", policy.ADMIN, request=NAMESPACE,
                  verb="create", status=201, errors=(errors.NamespaceExists,)),
        Operation("GET", NAMED, metadefs.show, "get_metadef_namespace", READ, errors=(errors.NamespaceNotFound,)),
        Operation("PUT", NAMED, metadefs.update, "modify_metadef_namespace", policy.ADMIN, request=NAMESPACE,
                  verb="update", errors=(errors.NamespaceNotFound, errors.NamespaceExists)),
        Operation("DELETE", NAMED, metadefs.delete, "delete_metadef_namespace", policy.ADMIN, status=204,
                  errors=(errors.NamespaceNotFound, errors.NamespaceProtected)),
        *_definitions("object", "objects", OBJECT),
        *_definitions("property", "properties", PROPERTY),
        *_definitions("tag", "tags", TAG),
        Operation("POST", NAMED + "/objects", metadefs.creator("object"), "add_metadef_object", policy.ADMIN,
                  request=OBJECT, verb="create", status=201, errors=(errors.DefinitionExists,)),
        Operation("POST", NAMED + "/properties", metadefs.creator("property"), "add_metadef_property", policy.ADMIN,
                  request=PROPERTY, verb="create", status=201, errors=(errors.DefinitionExists,)),
        Operation("POST", NAMED + "/tags", metadefs.create_tags, "add_metadef_tags", policy.ADMIN, request=TAGS,
                  status=201, errors=(errors.DefinitionExists,)),
        Operation("POST", NAMED + "/tags/{name}", metadefs.create_tag, "add_metadef_tag", policy.ADMIN, status=201,
                  errors=(errors.DefinitionExists,)),
        Operation("GET", NAMED + "/resource_types", metadefs.lister("resource_type"),
                  "get_metadef_resource_type", READ),
        Operation("POST", NAMED + "/resource_types", metadefs.creator("resource_type"),
                  "add_metadef_resource_type_association", policy.ADMIN, request=ASSOCIATION, verb="create", status=201,
                  errors=(errors.DefinitionExists,)),
        Operation("DELETE", NAMED + "/resource_types/{name}", metadefs.deleter("resource_type"),
                  "remove_metadef_resource_type_association", policy.ADMIN, status=204,
                  errors=(errors.DefinitionNotFound,)),
    ],
    dialect=dialects.glance,
    style=ListStyle(unknown="ignore", max_limit=1000),
    prefixes=("/image",),
    trailing_slash=False,
    rules=(
        ("publicize_image", policy.ADMIN, "Make an image visible to everybody."),
        ("copy_image", policy.ADMIN, "Copy the data of other projects' images to further stores."),
        ("download_from_store", READ, "Choose the stores that image data comes from."),
        ("communitize_image", WRITE, "Make an image usable by whoever knows it."),
    ),
)  # fmt: skip
