# SPDX-License-Identifier: Apache-2.0
"""HTTP handlers of the network service: no SQL, no RPC."""
