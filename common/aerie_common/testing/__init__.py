# SPDX-License-Identifier: Apache-2.0
"""Kits for tests of any service. Shipped, so that a service developed elsewhere can be tested the same way."""
