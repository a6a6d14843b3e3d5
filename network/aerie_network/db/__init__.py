# SPDX-License-Identifier: Apache-2.0
"""SQL of the network service: the only place that knows tables. Functions take the connection first."""
