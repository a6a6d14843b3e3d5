# SPDX-License-Identifier: Apache-2.0
"""Options of the compute service, under the names operators of OpenStack know where those exist."""

from __future__ import annotations

from oslo_config import cfg

from aerie_common import config

DEFAULT_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("default_availability_zone", default="nova", help="Zone of hosts whose aggregates name none."),
    cfg.StrOpt("default_schedule_zone", help="Zone of servers whose owner names none (default: any)."),
    cfg.IntOpt("service_down_time", default=60, min=1, help="Seconds of silence after which a daemon counts as down."),
    cfg.IntOpt("shutdown_timeout", default=60, min=0, help="Seconds a guest has to shut down when asked."),
    cfg.IntOpt("build_attempts", default=3, min=1, help="Hosts tried before a build is given up."),
    cfg.StrOpt("instance_name_template", default="instance-{short_id}", help="What the hypervisor calls a guest."),
    cfg.StrOpt("dhcp_domain", default="", help="Domain appended to host names in metadata."),
    cfg.IntOpt("max_console_log", default=102400, min=1024, help="Bytes of console log shown at most."),
]
CONDUCTOR_OPTS: list[cfg.Opt] = [
    cfg.IntOpt("flow_threads", default=16, min=1, help="Flows one conductor works on at a time."),
    cfg.IntOpt("reconcile_interval", default=15, min=1, help="Seconds between two passes of the reconcilers."),
]
SCHEDULER_OPTS: list[cfg.Opt] = [
    cfg.FloatOpt("cpu_allocation_ratio", default=16.0, min=0.1, help="Virtual CPUs a host's CPU may be promised as."),
    cfg.FloatOpt("ram_allocation_ratio", default=1.0, min=0.1, help="The same for memory."),
    cfg.FloatOpt("disk_allocation_ratio", default=1.0, min=0.1, help="The same for disk."),
    cfg.IntOpt("host_subset_size", default=1, min=1, help="Choose at random among so many best hosts."),
    cfg.IntOpt("alternatives", default=5, min=1, help="Candidates handed to the conductor."),
]
QUOTA_OPTS: list[cfg.Opt] = [
    cfg.IntOpt("instances", default=10, min=-1, help="Servers of a project; -1 means any number."),
    cfg.IntOpt("cores", default=20, min=-1, help="Virtual CPUs of a project."),
    cfg.IntOpt("ram", default=51200, min=-1, help="MiB of memory of a project."),
    cfg.IntOpt("metadata_items", default=128, min=-1, help="Metadata items of a server."),
    cfg.IntOpt("key_pairs", default=100, min=-1, help="Key pairs of a user."),
    cfg.IntOpt("server_groups", default=10, min=-1, help="Server groups of a project."),
    cfg.IntOpt("server_group_members", default=10, min=-1, help="Members of a server group."),
]
CONSOLE_OPTS: list[cfg.Opt] = [
    cfg.StrOpt("novncproxy_base_url", default="http://127.0.0.1:6080/vnc_lite.html", help="Page that shows a screen."),
    cfg.StrOpt("serialproxy_base_url", default="ws://127.0.0.1:6080/", help="WebSocket of serial consoles."),
    cfg.IntOpt("token_ttl", default=600, min=10, help="Seconds a console address is good for."),
]
PLACEMENT_OPTS: list[cfg.Opt] = [cfg.PortOpt("port", default=8778, help="Port the placement API listens on.")]

OPTIONS: tuple[tuple[str | None, list[cfg.Opt]], ...] = (
    (None, DEFAULT_OPTS),
    ("api_database", config.DATABASE_OPTS),
    ("conductor", CONDUCTOR_OPTS),
    ("scheduler", SCHEDULER_OPTS),
    ("quota", QUOTA_OPTS),
    ("console", CONSOLE_OPTS),
    ("placement", PLACEMENT_OPTS),
)
