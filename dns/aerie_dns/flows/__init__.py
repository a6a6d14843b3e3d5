# SPDX-License-Identifier: Apache-2.0
"""Long work of the DNS service."""
