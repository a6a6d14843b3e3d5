# SPDX-License-Identifier: Apache-2.0
"""SQL of the compute service: the only place that imports sqlalchemy's tables; functions take the connection first."""
