# SPDX-License-Identifier: Apache-2.0
"""Network drivers: what turns the desired state of one host into bridges, rules, leases and routes."""
