# SPDX-License-Identifier: Apache-2.0
"""The connection to RabbitMQ that daemons use: oslo.messaging's, with a pause where that has none.

Invariant: a connection that cannot be had is asked for a few times a second at most, by each who reads from it. What
oslo.messaging takes for recoverable (a broker that is gone) it tries again at growing intervals, but a broker that
refuses the login is tried again at once and for ever by the thread which waits for answers: hundreds of times a second.
"""

from __future__ import annotations

import time

from oslo_messaging._drivers import common, impl_rabbit

PAUSE = 1.0


class Connection(impl_rabbit.Connection):  # type: ignore[misc]
    """Rests after a failure to consume."""

    def consume(self, timeout: float | None = None) -> None:
        try:
            super().consume(timeout)
        except common.Timeout:  # nothing came: no failure
            raise
        except Exception:
            time.sleep(PAUSE)
            raise
