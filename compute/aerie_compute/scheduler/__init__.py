# SPDX-License-Identifier: Apache-2.0
"""Choosing hosts."""
