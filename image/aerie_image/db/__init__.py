# SPDX-License-Identifier: Apache-2.0
"""SQL of the image service."""

from aerie_image.db import images, members, metadefs, tasks

__all__ = ["images", "members", "metadefs", "tasks"]
