# SPDX-License-Identifier: Apache-2.0
"""Standard definitions of what is in an image: its system, its software, its signature."""

from __future__ import annotations

from aerie_image.standard_metadefs.form import (
    IMAGE,
    PLAIN,
    SOFTWARE,
    VOLUME,
    At,
    Property,
    Standard,
    choice,
    port,
    text,
)

_UUID = "^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$"
_SYSTEM = {
    "os_distro": text("Distribution", "Short name of the distribution, in lower case: debian, ubuntu, fedora."),
    "os_version": text("Version", "Version of the operating system as its makers name it."),
}


def _version(of: str) -> Property:
    return text("Version", f"Version of {of}.")


def _runtime(key: str, name: str) -> dict[str, tuple[str, dict[str, Property]]]:
    return {name: (f"{name} is installed.", {f"sw_runtime_{key}_version": _version(name)})}


def _web_server(key: str, name: str) -> dict[str, tuple[str, dict[str, Property]]]:
    start = f"sw_webserver_{key}_"
    properties = {
        f"{start}version": _version(name),
        f"{start}http_port": port(80, "HTTP port", "Port for plain requests."),
        f"{start}https_port": port(443, "HTTPS port", "Port for encrypted requests."),
    }
    return {name: (f"{name} answers requests.", properties)}


def _database(
    key: str, name: str, number: int | None = None, admin: str | None = "", *, listen: str = "listen_port",
    admin_of: str | None = None, **more: Property,
) -> dict[str, tuple[str, dict[str, Property]]]:  # fmt: skip
    """admin: the user's usual name; "" when there is none, None when there is no such user. listen, admin_of: where the
    standard's names do not follow its own pattern."""
    start = f"sw_database_{key}_"
    properties: dict[str, Property] = {f"{start}version": _version(name)}
    properties |= {f"{start}{what}": found for what, found in more.items()}
    if number is not None:
        properties[f"{start}{listen}"] = port(number)
    if admin is not None:
        about = text("Administrator", "User who administers it.")
        properties[f"sw_database_{admin_of or key}_admin"] = {**about, "default": admin} if admin else about
    return {name: (f"{name} keeps data.", properties)}


_SQL_SERVER = choice(
    "Edition", "Which edition it is.",
    "Express", "Standard", "Enterprise", "Datacenter", "Web", "Workgroup", "Developer", "Business Intelligence",
    "Compact (SQL CE)", "Embedded (SSEE)", "Fast Track", "LocalDB", "Parallel Data Warehouse (PDW)",
    "Datawarehouse Appliance Edition", default="Express",
)  # fmt: skip
_ORACLE = choice(
    "Edition", "Which edition it is.",
    "Express (XE)", "Standard", "Standard Edition One", "Enterprise", "Workgroup", "Lite", default="Express (XE)",
)  # fmt: skip

CONTENTS = (
    Standard(
        "OS::Glance::CommonImageProperties",
        "Common properties",
        "Where an image comes from and what it needs.",
        {IMAGE: PLAIN},
        {
            "kernel_id": text("Kernel", "Image with the kernel to start, where the guest has no boot loader.",
                              pattern=_UUID),
            "ramdisk_id": text("Initial RAM disk", "Image with the RAM disk that belongs to the kernel.",
                               pattern=_UUID),
            "instance_uuid": text("Server", "The server this image is a snapshot of."),
            "architecture": text("Architecture", "The processors it runs on: x86_64, aarch64, ppc64le, s390x."),
            **_SYSTEM,
            "hw_cpu_mode": text("Processor mode", "What kind of processor the guest sees."),
            "description": text("Description", "What people should know of the image."),
            "cinder_encryption_key_id": text("Key", "The secret that the image's data is encrypted with."),
            "cinder_encryption_key_deletion_policy": choice(
                "Key afterwards", "What becomes of the secret when the image is deleted.",
                "on_image_deletion", "do_not_delete",
            ),
        },
    ),
    Standard(
        "OS::Glance::Signatures",
        "Signature",
        "By what it can be told that nobody has changed the image.",
        {IMAGE: PLAIN},
        {
            "img_signature": text("Signature", "The signature of the data, in base64."),
            "img_signature_certificate_uuid": text("Certificate", "Id of the certificate of whoever signed it."),
            "img_signature_hash_method": choice(
                "Hash", "What was signed: this hash of the data.", "SHA-224", "SHA-256", "SHA-384", "SHA-512"
            ),
            "img_signature_key_type": choice(
                "Key", "The kind of key it was signed with.",
                "RSA-PSS", "DSA", "ECC_SECP384R1", "ECC_SECP521R1", "ECC_SECT409K1", "ECC_SECT409R1", "ECC_SECT571K1",
                "ECC_SECT571R1",
            ),
        },
    ),
    Standard(
        "OS::OperatingSystem",
        "Operating system",
        "What is installed in the image.",
        {IMAGE: PLAIN, VOLUME: At(target="image")},
        {**_SYSTEM, "os_admin_user": text("Login name", "The user who may log in first.")},
    ),
    Standard(
        "OS::Software::DBMS",
        "Databases",
        "Database servers in the image.",
        {**SOFTWARE, "OS::Trove::Instance": PLAIN},
        objects={
            **_database("mysql", "MySQL", 3306, "root"),
            **_database("postgresql", "PostgreSQL", 5432, "postgres"),
            **_database("sqlserver", "SQL Server", 1433, "sa", admin_of="postsqlserver", edition=_SQL_SERVER),
            **_database("oracle", "Oracle", 1521, None, edition=_ORACLE),
            **_database("db2", "DB2", 50000, listen="port"),
            **_database("mongodb", "MongoDB", 27017),
            **_database("couchbaseserver", "Couchbase Server", 11211, "admin"),
            **_database("redis", "Redis", 6379, "admin"),
            **_database("couchdb", "CouchDB", 5984),
            **_database("cassandra", "Apache Cassandra", 9160, "cassandra"),
            **_database("hbase", "HBase", admin=None),
            **_database("hazlecast", "Hazlecast", 5701, None, listen="port"),
        },
    ),
    Standard(
        "OS::Software::Runtimes",
        "Runtimes",
        "What programs in the image can be written in.",
        SOFTWARE,
        objects={
            **_runtime("php", "PHP"),
            **_runtime("python", "Python"),
            **_runtime("java", "Java"),
            **_runtime("ruby", "Ruby"),
            **_runtime("perl", "Perl"),
        },
    ),
    Standard(
        "OS::Software::WebServers",
        "Web servers",
        "Web servers in the image.",
        SOFTWARE,
        objects={
            **_web_server("apache", "Apache HTTP Server"),
            **_web_server("nginx", "Nginx"),
            **_web_server("iis", "IIS"),
        },
    ),
    Standard(
        "OS::Cinder::Volumetype",
        "Volume type",
        "Which type a volume that is made of the image gets.",
        {IMAGE: At("cinder_")},
        {"img_volume_type": text("Volume type", "Name of the volume type.")},
    ),
)  # fmt: skip
