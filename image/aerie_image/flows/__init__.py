# SPDX-License-Identifier: Apache-2.0
"""Long work of the image service."""

from aerie_image.flows.image_import import IMAGE_IMPORT

FLOWS = (IMAGE_IMPORT,)
