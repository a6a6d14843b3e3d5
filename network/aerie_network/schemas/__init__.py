# SPDX-License-Identifier: Apache-2.0
"""The fields of each noun of the Neutron API."""
