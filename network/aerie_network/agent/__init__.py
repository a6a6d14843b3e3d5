# SPDX-License-Identifier: Apache-2.0
"""The network agent: one process per host which keeps it as the network server wants it."""
