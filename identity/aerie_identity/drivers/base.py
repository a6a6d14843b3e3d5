# SPDX-License-Identifier: Apache-2.0
"""What a directory of users and groups does for the identity service. It is only ever read.

Every call is bounded in time and raises DirectoryDown when nothing answers, DirectoryFault when the answer is an error.
Invariant: an answer comes from the directory itself, never from something remembered.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aerie_common.errors import BadGateway, ServiceUnavailable


class DirectoryDown(ServiceUnavailable):
    code = "directory_unavailable"
    template = "The directory of the domain does not answer. Try again in a moment."


class DirectoryFault(BadGateway):
    code = "directory_fault"
    template = "The directory of the domain answered with an error: {reason}."


@dataclass(frozen=True)
class DirectoryUser:
    """address: where the directory keeps the user (LDAP: the DN)."""

    local_id: str
    name: str
    address: str
    enabled: bool = True
    default_project_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DirectoryGroup:
    local_id: str
    name: str
    address: str
    description: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NameTest:
    """Names equal to one of the values (operator ""), or which contain, start or end with one of them. What is equal
    is the directory's to say: LDAP mostly does not tell upper from lower case."""

    values: tuple[str, ...]
    operator: str = ""


class Directory(ABC):
    """One domain's directory. Threads share it."""

    @abstractmethod
    def users(self, test: NameTest | None = None) -> list[DirectoryUser]:
        """All users, or at least all whose name passes the test."""

    @abstractmethod
    def users_by_ids(self, local_ids: Iterable[str]) -> list[DirectoryUser]:
        """Those that exist; an id that stands for two entries counts as none."""

    @abstractmethod
    def authenticate(self, user: DirectoryUser, password: str) -> bool:
        """Is this the user's password? An empty one never is."""

    @abstractmethod
    def groups(self, test: NameTest | None = None) -> list[DirectoryGroup]:
        """All groups, or at least all whose name passes the test."""

    @abstractmethod
    def group(self, local_id: str) -> DirectoryGroup | None:
        """None when it does not exist."""

    @abstractmethod
    def groups_of(self, user: DirectoryUser) -> list[DirectoryGroup]:
        """The groups a user is in."""

    @abstractmethod
    def members(self, group: DirectoryGroup) -> list[DirectoryUser]:
        """The users in a group; members that are no users of this directory are left out."""

    @abstractmethod
    def members_among(self, local_id: str, users: Sequence[DirectoryUser]) -> set[str]:
        """Which of these users are in the group: their ids. None of them when the group does not exist."""

    def user(self, local_id: str) -> DirectoryUser | None:
        """None when there is no such user."""
        found = self.users_by_ids([local_id])
        return found[0] if len(found) == 1 else None

    @abstractmethod
    def close(self) -> None:
        """Let go of idle connections."""
