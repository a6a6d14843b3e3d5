# SPDX-License-Identifier: Apache-2.0
"""The rules of the network service: one transaction per public function; refusals are in `errors`."""
