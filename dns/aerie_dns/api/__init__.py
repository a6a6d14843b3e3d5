# SPDX-License-Identifier: Apache-2.0
"""Handlers of the DNS API, one noun a module: no SQL, no messages."""
