# SPDX-License-Identifier: Apache-2.0
"""The placement API: a view of the allocations that the scheduler and the conductor work with."""
