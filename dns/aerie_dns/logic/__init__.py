# SPDX-License-Identifier: Apache-2.0
"""The rules of the DNS service, one noun a module; each public function is one transaction."""
