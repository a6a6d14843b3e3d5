# SPDX-License-Identifier: Apache-2.0
"""Options of the image service, under Glance's names where it has them."""

from oslo_config import cfg, types

FILE_STORE: list[cfg.Opt] = [
    cfg.StrOpt(
        "filesystem_store_datadir",
        help="Folder of this store of kind file. Empty: beside the folder of [file], with the store's name appended.",
    ),
]

S3_STORE: list[cfg.Opt] = [
    cfg.StrOpt("s3_store_host", help="The S3 service, with http:// or https:// (which is meant without)."),
    cfg.StrOpt("s3_store_access_key", secret=True, help="Access key of the bucket's user."),
    cfg.StrOpt("s3_store_secret_key", secret=True, help="Its secret."),
    cfg.StrOpt("s3_store_bucket", help="Bucket for the data of images."),
    cfg.BoolOpt("s3_store_create_bucket_on_put", default=False, help="Make the bucket when it does not exist."),
    cfg.StrOpt(
        "s3_store_bucket_url_format",
        default="auto",
        choices=["auto", "virtual", "path"],
        help="Where requests name the bucket: in the host's name (virtual), in the path, or whichever works.",
    ),
    cfg.StrOpt("s3_store_region_name", default="", help="Region to sign for, and to make the bucket in."),
    cfg.StrOpt("s3_store_cacert", default="", help="File of the certificates to trust instead of the system's."),
    cfg.IntOpt(
        "s3_store_large_object_size",
        default=16,
        min=0,
        help="MiB up to which data is stored in one request (and held in memory until then); more comes in parts.",
    ),
    cfg.IntOpt("s3_store_large_object_chunk_size", default=10, min=5, help="MiB of each part."),
    cfg.IntOpt("s3_store_thread_pools", default=3, min=1, help="Parts of an upload that are sent at a time."),
]

SWIFT_STORE: list[cfg.Opt] = [
    cfg.StrOpt(
        "swift_store_auth_address", help="Identity service (version 3), or the address Swift gives tokens at (1)."
    ),
    cfg.StrOpt("swift_store_auth_version", default="3", choices=["1", "3"], help="1: tempauth; 3: Keystone."),
    cfg.StrOpt("swift_store_user", help="project:user"),
    cfg.StrOpt("swift_store_key", secret=True, help="The user's password."),
    cfg.StrOpt("swift_store_user_domain_name", default="Default", help="Domain of the user, version 3."),
    cfg.StrOpt("swift_store_project_domain_name", default="Default", help="Domain of the project, version 3."),
    cfg.StrOpt("swift_store_region", default="", help="Region of the object store in the catalog."),
    cfg.StrOpt(
        "swift_store_endpoint_type",
        default="publicURL",
        choices=["publicURL", "internalURL", "adminURL"],
        help="Which of the catalog's endpoints to use.",
    ),
    cfg.StrOpt("swift_store_service_type", default="object-store", help="Type of the object store in the catalog."),
    cfg.StrOpt("swift_store_endpoint", help="URL of the account, instead of the one that the catalog or Swift names."),
    cfg.StrOpt("swift_store_container", default="glance", help="Container for the data of images."),
    cfg.BoolOpt(
        "swift_store_create_container_on_put", default=False, help="Make the container when it does not exist."
    ),
    cfg.IntOpt(
        "swift_store_large_object_size",
        default=5120,
        min=0,
        help="MiB up to which data of known size is stored as one object; more is stored in segments.",
    ),
    cfg.IntOpt("swift_store_large_object_chunk_size", default=200, min=1, help="MiB of each segment."),
    cfg.StrOpt("swift_store_cacert", default="", help="File of the certificates to trust instead of the system's."),
    cfg.BoolOpt("swift_store_auth_insecure", default=False, help="Trust any certificate."),
]

STORE_OPTIONS: dict[str, list[cfg.Opt]] = {"file": FILE_STORE, "http": [], "s3": S3_STORE, "swift": SWIFT_STORE}
"""Options of the group named after a store of `enabled_backends`, by the store's kind."""

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    (
        None,
        [
            cfg.IntOpt("image_size_cap", default=1 << 40, min=1, help="Largest image, in bytes."),
            cfg.IntOpt(
                "user_storage_quota", default=0, min=0, help="Bytes of images one project may keep; 0: no limit."
            ),
            cfg.IntOpt("image_member_quota", default=128, help="Members of one image; -1: no limit."),
            cfg.IntOpt("image_property_quota", default=128, help="Properties of one image; -1: no limit."),
            cfg.IntOpt("image_tag_quota", default=128, help="Tags of one image; -1: no limit."),
            cfg.BoolOpt(
                "use_keystone_limits",
                default=False,
                help="Projects have the limits that the identity service keeps (registered limits of this service: "
                "image_size_total and image_stage_total in MiB, image_count_total, image_count_uploading). The quota "
                "options of this file hold for what it has no limit for.",
            ),
            cfg.IntOpt("image_count_quota", default=-1, help="Images of one project; -1: no limit."),
            cfg.DictOpt(
                "enabled_backends",
                default={"file": "file"},
                help="Stores of image data, name:kind. Kinds: file, s3, swift, and http (read only). Each has its "
                "options in the group of its name.",
            ),
            cfg.ListOpt(
                "enabled_import_methods",
                default=["glance-direct", "web-download", "copy-image"],
                help="Ways of import that are offered: glance-direct, web-download, copy-image, glance-download.",
            ),
            cfg.IntOpt("import_threads", default=2, min=1, help="Imports that one API process works on at a time."),
            cfg.StrOpt(
                "image_cache_dir",
                help="Folder for copies of image data that lies in stores elsewhere. Empty: no cache and no cache API.",
            ),
            cfg.IntOpt("image_cache_max_size", default=10 << 30, min=0, help="Bytes of copies that are kept."),
            cfg.IntOpt(
                "image_cache_stall_time",
                default=86400,
                min=0,
                help="Seconds after which an unfinished copy is given up.",
            ),
            cfg.BoolOpt(
                "do_secure_hash",
                default=True,
                help="Read the data of locations that are added to images, to know its checksums and to refuse what "
                "is hostile.",
            ),
            cfg.IntOpt("task_time_to_live", default=48, min=1, help="Hours for which ended tasks are shown."),
        ],
    ),
    (
        "glance_store",
        [cfg.StrOpt("default_backend", help="Store of new images. Empty: the first of enabled_backends.")],
    ),
    (
        "import_filtering_opts",
        [
            cfg.ListOpt("allowed_schemes", default=["http", "https"], help="Schemes web-download fetches from."),
            cfg.ListOpt("allowed_hosts", default=[], help="The only hosts web-download fetches from. Empty: all."),
            cfg.ListOpt("disallowed_hosts", default=[], help="Hosts and networks web-download never fetches from."),
            cfg.ListOpt("allowed_ports", default=[], item_type=types.Port(), help="The only ports. Empty: all."),
            cfg.ListOpt("disallowed_ports", default=[], item_type=types.Port(), help="Ports that are refused."),
            cfg.ListOpt(
                "allowed_networks",
                default=[],
                help="Private networks web-download may fetch from all the same, e.g. that of a mirror. Loopback, "
                "link-local and private addresses are refused otherwise, whatever name leads to them.",
            ),
        ],
    ),
    (
        "glance_download_properties",
        [
            cfg.ListOpt(
                "extra_properties",
                default=["hw_", "trait:", "os_distro", "os_secure_boot", "os_type"],
                help="glance-download copies the custom properties whose names begin so.",
            ),
        ],
    ),
    (
        "image_import_opts",
        [
            cfg.ListOpt(
                "image_import_plugins",
                default=[],
                help="What is done to imported data, in this order: image_decompression, image_conversion.",
            ),
        ],
    ),
    (
        "image_conversion",
        [cfg.StrOpt("output_format", default="raw", choices=["raw", "qcow2"], help="What image_conversion makes.")],
    ),
    (
        "image_format",
        [
            cfg.ListOpt(
                "disk_formats",
                default=["ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop"],
                help="What users may call the format of an image's disk.",
            ),
            cfg.ListOpt(
                "container_formats",
                default=["ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"],
                help="What users may call the wrapping around it.",
            ),
        ],
    ),
    (
        "file",
        [
            cfg.StrOpt("filesystem_store_datadir", default="/var/lib/aerie/images", help="Folder of the file store."),
            cfg.StrOpt("staging_datadir", default="/var/lib/aerie/image-staging", help="Folder of staged uploads."),
        ],
    ),
)
