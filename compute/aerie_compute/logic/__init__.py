# SPDX-License-Identifier: Apache-2.0
"""The rules of the compute API: one transaction a public function, refusals from `errors`."""
