# SPDX-License-Identifier: Apache-2.0
"""Where image data lies: drivers of one interface (base.py)."""
