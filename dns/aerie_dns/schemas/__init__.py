# SPDX-License-Identifier: Apache-2.0
"""Fields of the nouns of the DNS API, one Resource a module."""
