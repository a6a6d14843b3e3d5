# SPDX-License-Identifier: Apache-2.0
"""The Linux driver: bridges, VXLAN, taps, packet filters, dnsmasq and router namespaces."""
