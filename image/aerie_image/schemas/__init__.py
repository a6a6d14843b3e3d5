# SPDX-License-Identifier: Apache-2.0
"""The fields of each noun of the image API."""

from aerie_image.schemas.images import IMAGE
from aerie_image.schemas.members import MEMBER

__all__ = ["IMAGE", "MEMBER"]
