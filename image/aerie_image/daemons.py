# SPDX-License-Identifier: Apache-2.0
"""The image service's daemon."""

from __future__ import annotations

from oslo_config import cfg

from aerie_common import pipeline
from aerie_common.flow_runner import FlowRunner
from aerie_common.reconcile import Reconciler
from aerie_common.service import Daemon, DatabaseSpec, ServiceSpec, Stoppable
from aerie_image import commands, reconcile, replication, standard_metadefs
from aerie_image.container import ImageService
from aerie_image.db.tables import METADATA
from aerie_image.flows import FLOWS
from aerie_image.logic import cached_images
from aerie_image.operations import TABLE
from aerie_image.options import OPTIONS

PORT = 9292


def start_api(conf: cfg.ConfigOpts) -> list[Stoppable]:
    """Serve the API, carry imports, and keep files and rows in step."""
    svc = ImageService(conf)
    runner = FlowRunner(svc.db, FLOWS, svc, workers=conf.import_threads)
    runner.start()
    reconciler = Reconciler("image-files", lambda: reconcile.everything(svc), period=600)
    reconciler.start()
    standard = Reconciler("image-metadefs", lambda: standard_metadefs.load(svc), period=86400)
    standard.start()
    running: list[Stoppable] = [standard, reconciler, runner]
    if svc.cache is not None:
        copies = Reconciler("image-cache", lambda: cached_images.keep(svc), period=60)
        svc.cache.wake = copies.wake
        copies.start()
        running.append(copies)
    return [*running, pipeline.serve(svc, PORT)]


SPEC = ServiceSpec(
    name="image",
    daemons=(Daemon("aerie-image-api", start_api, "controller", "image", PORT, workers=True),),
    options=OPTIONS,
    databases=(DatabaseSpec("image", "database", lambda: METADATA),),
    table=lambda: TABLE,
    commands={
        "load-metadefs": commands.load_metadefs,
        "replicate": replication.run,
        "scrub": commands.scrub,
    },
    all_in_one={(None, "enabled_backends"): {"file": "file", "copies": "file"}, (None, "use_keystone_limits"): True},
    paths={
        ("file", "filesystem_store_datadir"): "images",
        ("file", "staging_datadir"): "image-staging",
        (None, "image_cache_dir"): "image-cache",
    },
)
