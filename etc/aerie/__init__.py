# SPDX-License-Identifier: Apache-2.0
"""Configuration samples, installed with the program as the package `aerie_etc`."""
