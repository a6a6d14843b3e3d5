# SPDX-License-Identifier: Apache-2.0
"""Where the import packages live: one per top-level folder, found here, described in pyproject.toml."""

from setuptools import find_namespace_packages, setup

ROOTS = ("common", "identity", "compute", "image", "network", "dns", "dashboard", "migrations")

packages = ["aerie_etc"]
package_dir = {"aerie_etc": "etc/aerie"}
for root in ROOTS:
    top = f"aerie_{root}"
    package_dir[top] = f"{root}/{top}"
    packages += find_namespace_packages(root, include=[top, f"{top}.*"])

setup(packages=packages, package_dir=package_dir, package_data={"": ["**/*"]})
