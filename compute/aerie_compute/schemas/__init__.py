# SPDX-License-Identifier: Apache-2.0
"""Fields of the nouns of the compute API."""
