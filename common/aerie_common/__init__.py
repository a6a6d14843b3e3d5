# SPDX-License-Identifier: Apache-2.0
"""What all services share. Every daemon runs on native threads.

Some Oslo libraries load eventlet merely because it is installed, at the price of 18 MiB and 0.2 s a process, and take
its presence for a wish to use it. So it is hidden before any of them is imported, and oslo.service is told.
"""

import sys

from oslo_service import backend

sys.modules.setdefault("eventlet", None)  # type: ignore[arg-type]  # None is how Python marks a module as absent
backend.register_backend_default_hook(lambda: backend.BackendType.THREADING)
