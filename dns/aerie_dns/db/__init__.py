# SPDX-License-Identifier: Apache-2.0
"""SQL of the DNS service: the only place that imports sqlalchemy; functions take the connection first."""
