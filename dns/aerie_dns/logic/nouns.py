# SPDX-License-Identifier: Apache-2.0
"""The rules of what only operators deal with: top-level domains, blacklists, TSIG keys. A row each, unique by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from aerie_common.db import retried
from aerie_common.errors import AerieError, InvalidField
from aerie_dns import errors
from aerie_dns.container import Dns
from aerie_dns.db import nouns as db
from aerie_dns.db.rows import Duplicate, Noun
from aerie_dns.paging import Page

T = TypeVar("T")


@dataclass(frozen=True)
class Rules(Generic[T]):
    """One noun: where it is kept, and how it is refused."""

    noun: Noun[T]
    missing: type[AerieError]
    duplicate: type[AerieError]

    def list_(self, svc: Dns, page: Page) -> tuple[list[T], int]:
        """One page, and how many there are."""
        with svc.db.read() as conn:
            return self.noun.page(conn, page)

    def show(self, svc: Dns, id: str) -> T:
        """One, or the noun's own refusal."""
        with svc.db.read() as conn:
            found = self.noun.get(conn, id=id)
        if found is None:
            raise self.missing()
        return found

    def create(self, svc: Dns, **values: Any) -> T:
        """Store one."""
        check(values)
        return self._create(svc, values)

    @retried
    def _create(self, svc: Dns, values: dict[str, Any]) -> T:
        try:
            with svc.db.write() as conn:
                return self.noun.insert(conn, **values)
        except Duplicate:
            raise self.duplicate() from None

    @retried
    def update(self, svc: Dns, id: str, **values: Any) -> T:
        """Change one."""
        check(values)
        try:
            with svc.db.write() as conn:
                if values and not self.noun.update(conn, id, values):
                    raise self.missing()
        except Duplicate:
            raise self.duplicate() from None
        return self.show(svc, id)

    @retried
    def delete(self, svc: Dns, id: str) -> None:
        """Forget one."""
        with svc.db.write() as conn:
            if not self.noun.delete(conn, id=id):
                raise self.missing()


def check(values: dict[str, Any]) -> None:
    """What the schemas cannot say. InvalidField."""
    if "pattern" in values:
        try:
            re.compile(values["pattern"])
        except re.error as error:
            raise InvalidField("pattern", f"is not a regular expression: {error}") from None


TLDS = Rules(db.TLD, errors.TldNotFound, errors.DuplicateTld)
BLACKLISTS = Rules(db.BLACKLIST, errors.BlacklistNotFound, errors.DuplicateBlacklist)
TSIGKEYS = Rules(db.TSIGKEY, errors.TsigKeyNotFound, errors.DuplicateTsigKey)
