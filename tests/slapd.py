# SPDX-License-Identifier: Apache-2.0
"""A private OpenLDAP server (`slapd`) with a small company in it; needs nothing of the machine's own one."""

from __future__ import annotations

import datetime
import ipaddress
import platform
import secrets
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ldap
import ldap.dn
import ldap.modlist
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from servers import START_SECONDS, Server, ServerError, free_port, program

SUFFIX = "dc=example,dc=org"
PEOPLE, GROUPS = f"ou=People,{SUFFIX}", f"ou=Groups,{SUFFIX}"
READER = f"cn=reader,{SUFFIX}"
SCHEMAS = ("core", "cosine", "inetorgperson", "nis")
APPARMOR = Path("/sys/module/apparmor/parameters/enabled")
Attributes = dict[str, str | list[str]]


class Slapd(Server):
    """The account READER may read all but passwords, at most 500 entries in one answer or page. A bind without a
    password succeeds, as it does in careless installations."""

    name = "slapd"

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.port, self.tls_port = free_port(), free_port()
        self.password = secrets.token_hex(12)
        self.admin = f"cn=admin,{SUFFIX}"
        self.authority = self.directory / "ca.pem"

    @property
    def url(self) -> str:
        return f"ldap://127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        return f"ldaps://127.0.0.1:{self.tls_port}"

    def prepare(self) -> None:
        data = self.directory / "data"
        data.mkdir()
        certificate, key = _certificates(self.directory)
        modules = next(path for path in Path("/usr/lib").glob("**/ldap/back_mdb.so")).parent
        lines = [
            *(f"include /etc/ldap/schema/{name}.schema" for name in SCHEMAS),
            f"modulepath {modules}",
            "moduleload back_mdb",
            f"pidfile {self.directory}/slapd.pid",
            f"argsfile {self.directory}/slapd.args",
            f"TLSCACertificateFile {self.authority}",
            f"TLSCertificateFile {certificate}",
            f"TLSCertificateKeyFile {key}",
            "allow bind_anon_dn",
            "loglevel 0",
            "database mdb",
            f"suffix {SUFFIX}",
            f"directory {data}",
            "maxsize 268435456",
            "dbnosync",
            f"rootdn {self.admin}",
            f"rootpw {self.password}",
            "index objectClass,uid,cn,member eq",
            f'limits dn.exact="{READER}" size.soft=500 size.hard=500 size.prtotal=unlimited',
            "access to attrs=userPassword by anonymous auth by * none",
            f'access to * by dn.exact="{READER}" read by * none',
        ]
        (self.directory / "slapd.conf").write_text("\n".join(lines) + "\n")
        self.load(
            [
                (SUFFIX, {"objectClass": ["dcObject", "organization"], "dc": "example", "o": "Example"}),
                (PEOPLE, {"objectClass": "organizationalUnit", "ou": "People"}),
                (GROUPS, {"objectClass": "organizationalUnit", "ou": "Groups"}),
                (
                    READER,
                    {"objectClass": ["organizationalRole", "simpleSecurityObject"], "userPassword": self.password},
                ),
            ]
        )

    def load(self, entries: Iterable[tuple[str, Attributes]]) -> None:
        """Put entries into the files of a server that does not run."""
        text = []
        for dn, attributes in entries:
            text += [f"dn: {dn}"]
            text += [f"{name}: {value}" for name, values in attributes.items() for value in _listed(values)]
            text += [""]
        done = subprocess.run(
            [program("slapadd"), "-q", "-f", str(self.directory / "slapd.conf")],
            input="\n".join(text) + "\n",
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        if done.returncode:
            raise ServerError(f"slapadd failed: {done.stderr[-800:]}")

    def command(self) -> list[str]:
        command = [
            program("slapd"),
            "-f",
            f"{self.directory}/slapd.conf",
            "-h",
            f"{self.url} {self.tls_url}",
            "-d",
            "0",
        ]
        machine = platform.machine().replace("_", "-")
        if APPARMOR.exists() and APPARMOR.read_text().startswith("Y"):
            # Debian's profile goes with the program's path and knows no other directories than the machine's.
            return [str(next(path for path in Path("/").glob(f"lib*/ld-linux-{machine}.so.*"))), *command]
        return command

    def ready(self) -> bool:
        try:
            with self.connection():
                return True
        except ldap.SERVER_DOWN:
            return False

    # What a test does to the directory.
    @contextmanager
    def connection(self) -> Iterator[Any]:
        conn = ldap.initialize(self.url)
        conn.set_option(ldap.OPT_NETWORK_TIMEOUT, 5)
        try:
            conn.simple_bind_s(self.admin, self.password)
            yield conn
        finally:
            conn.unbind_s()

    def add(self, dn: str, attributes: Attributes) -> None:
        with self.connection() as conn:
            conn.add_s(dn, ldap.modlist.addModlist({k: _encoded(v) for k, v in attributes.items()}))

    def change(self, dn: str, **attributes: str | list[str] | None) -> None:
        """Replace attributes; None removes one."""
        with self.connection() as conn:
            changes = [(ldap.MOD_REPLACE, k, None if v is None else _encoded(v)) for k, v in attributes.items()]
            conn.modify_s(dn, changes)

    def delete(self, dn: str) -> None:
        with self.connection() as conn:
            conn.delete_s(dn)

    def user(self, uid: str, password: str = "pw", **attributes: str | list[str]) -> str:
        """A person; returns the DN."""
        dn, values = person(uid, password, **attributes)
        self.add(dn, values)
        return dn

    def group(self, name: str, *members: str, **attributes: str | list[str]) -> str:
        """A group of DNs; returns its DN."""
        dn = f"cn={ldap.dn.escape_dn_chars(name)},{GROUPS}"
        # The class demands a member: one that is nobody.
        members = members or (f"cn=nobody,{SUFFIX}",)
        self.add(dn, {"objectClass": "groupOfNames", "cn": name, "member": list(members), **attributes})
        return dn


def person(uid: str, password: str = "pw", **attributes: str | list[str]) -> tuple[str, Attributes]:
    values: Attributes = {
        "objectClass": "inetOrgPerson", "uid": uid, "cn": f"Person {uid}", "sn": "Person", "userPassword": password,
        **attributes,
    }  # fmt: skip
    return f"uid={ldap.dn.escape_dn_chars(uid)},{PEOPLE}", values


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values


def _encoded(values: str | list[str]) -> list[bytes]:
    return [value.encode() for value in _listed(values)]


def _certificates(folder: Path) -> tuple[Path, Path]:
    """Make an authority (ca.pem) and a certificate for 127.0.0.1; returns the paths of certificate and key."""
    now = datetime.datetime.now(datetime.UTC)

    def sign(name: str, key: Any, issuer: str, issuer_key: Any, extension: x509.ExtensionType) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        )
        return builder.sign(issuer_key, hashes.SHA256())

    root, own = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority = sign("Test CA", root, "Test CA", root, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = sign("127.0.0.1", own, "Test CA", root, names)
    (folder / "ca.pem").write_bytes(authority.public_bytes(serialization.Encoding.PEM))
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = own.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(private)
    return folder / "cert.pem", folder / "key.pem"
