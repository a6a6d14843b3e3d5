# SPDX-License-Identifier: Apache-2.0
"""Long work of the image service."""

from aerie_image.flows.image_import import IMAGE_IMPORT
from aerie_image.flows.location_add import LOCATION_ADD

FLOWS = (IMAGE_IMPORT, LOCATION_ADD)
