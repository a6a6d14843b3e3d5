# SPDX-License-Identifier: Apache-2.0
"""The fields of each noun of the image API."""

from aerie_image.schemas.images import IMAGE
from aerie_image.schemas.locations import LOCATION
from aerie_image.schemas.members import MEMBER
from aerie_image.schemas.metadefs import ASSOCIATION, NAMESPACE, OBJECT, PROPERTY, TAG, TAGS
from aerie_image.schemas.tasks import IMPORT, TASK

__all__ = [
    "ASSOCIATION",
    "IMAGE",
    "IMPORT",
    "LOCATION",
    "MEMBER",
    "NAMESPACE",
    "OBJECT",
    "PROPERTY",
    "TAG",
    "TAGS",
    "TASK",
]
