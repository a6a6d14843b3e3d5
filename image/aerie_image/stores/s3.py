# SPDX-License-Identifier: Apache-2.0
"""Image data as objects of a bucket of an S3 service.

Small data goes in one request, larger data in parts, several at a time: what an upload holds in memory is the larger of
`s3_store_large_object_size` and `s3_store_large_object_chunk_size` times `s3_store_thread_pools` + 2. An object
appears when it is complete. Locations (`s3://bucket/key`) hold no secrets, and those in
Glance's form are read as well; one with `?uploadId=` means parts
that have not become an object.
"""

from __future__ import annotations

import contextlib
import datetime
import errno
import logging
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import boto3
import botocore.config
import botocore.exceptions
import urllib3.exceptions
from oslo_config import cfg

from aerie_image.stores import naming
from aerie_image.stores.base import Body, Store, StoreDenied, StoreGone, StoreUnavailable, pieces

LOG = logging.getLogger(__name__)
MIB = 1 << 20
MAX_PARTS = 10_000
CONNECT_SECONDS, SILENCE_SECONDS = 10, 60
_FULL = frozenset({"QuotaExceeded", "QuotaExceededException", "InsufficientStorage", "XMinioStorageFull"})


class _NoUpload(StoreUnavailable):
    """The parts are gone."""


@contextlib.contextmanager
def _failures(what: str) -> Iterator[None]:
    """Say in the stores' words what S3's library says."""
    try:
        yield
    except botocore.exceptions.ClientError as e:
        code = str(e.response.get("Error", {}).get("Code", ""))
        status = e.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        text = f"{what}: {code} ({status})"
        if code == "NoSuchBucket":
            raise StoreGone(text) from e
        if code == "NoSuchUpload":
            raise _NoUpload(f"{text}: somebody removed the parts") from e
        if status == 404:
            raise FileNotFoundError(text) from e
        if status in (401, 403) and code not in _FULL:
            raise StoreDenied(text) from e
        if code in _FULL or status == 507:
            raise OSError(errno.ENOSPC, text) from e
        raise StoreUnavailable(text) from e
    except (botocore.exceptions.BotoCoreError, urllib3.exceptions.HTTPError) as e:
        raise StoreUnavailable(f"{what}: {e}") from e


class S3Writer:
    """One object being written."""

    path: str | None = None

    def __init__(self, store: S3Store, image_id: str, size: int | None) -> None:
        self._store, self._key = store, naming.new(image_id)
        self._part_size = max(store.part_size, -(-(size or 0) // MAX_PARTS))
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        self._upload: str | None = None
        self._pool: ThreadPoolExecutor | None = None
        self._free = threading.Semaphore(store.threads)
        self._sent: deque[Future[str]] = deque()
        self._tags: list[str] = []
        self._over = False

    def write(self, chunk: bytes | memoryview) -> None:
        self._held.append(bytes(chunk))
        self._held_bytes += len(chunk)
        if self._upload is None and self._held_bytes > self._store.single_size:
            self._upload = self._store.begin(self._key)
            self._pool = ThreadPoolExecutor(self._store.threads, "s3-part")
        while self._upload is not None and self._held_bytes >= self._part_size:
            self._send(self._take(self._part_size))

    def _take(self, size: int) -> bytes:
        """The first so many bytes of what is held."""
        taken, left = [], size
        while left:
            piece = self._held.popleft()
            if len(piece) > left:
                self._held.appendleft(piece[left:])
                piece = piece[:left]
            taken.append(piece)
            left -= len(piece)
        self._held_bytes -= size
        return b"".join(taken)

    def _send(self, data: bytes) -> None:
        """Send the next part by a thread; waits for a free one."""
        assert self._pool is not None and self._upload is not None
        self._collect(wait=False)
        number, upload = len(self._tags) + len(self._sent) + 1, self._upload
        if number > MAX_PARTS:
            raise OSError(
                errno.ENOSPC, f"{self._key} would have more than {MAX_PARTS} parts of {self._part_size} bytes"
            )
        self._free.acquire()

        def send() -> str:
            try:
                return self._store.send_part(self._key, upload, number, data)
            finally:
                self._free.release()

        self._sent.append(self._pool.submit(send))

    def _collect(self, wait: bool) -> None:
        """The tags of the parts that have arrived, in order; raises what went wrong with one."""
        while self._sent and (wait or self._sent[0].done()):
            self._tags.append(self._sent.popleft().result())

    def commit(self) -> str:
        if self._upload is None:
            self._store.put(self._key, self._take(self._held_bytes))
        else:
            if self._held_bytes:
                self._send(self._take(self._held_bytes))
            self._collect(wait=True)
            self._store.complete(self._key, self._upload, self._tags)
        self._over = True
        self._close()
        return self._store.location(self._key)

    def abort(self) -> None:
        self._close()
        if self._over or self._upload is None:
            return
        self._over = True
        try:
            self._store.abandon(self._key, self._upload)
        except OSError as e:
            LOG.warning("parts of %s stay until the reconciler finds them: %s", self._key, e)

    def _close(self) -> None:
        self._held.clear()
        self._held_bytes = 0
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


class _Body:
    def __init__(self, body: Any, what: str) -> None:
        self._body, self._what = body, what

    def read(self, size: int) -> bytes:
        with _failures(self._what):
            data: bytes = self._body.read(size)
            return data

    def close(self) -> None:
        self._body.close()


class S3Store(Store):
    """All images in one bucket."""

    kind = "s3"

    def __init__(self, name: str, options: cfg.ConfigOpts.GroupAttr) -> None:
        for needed in ("s3_store_host", "s3_store_access_key", "s3_store_secret_key", "s3_store_bucket"):
            if not getattr(options, needed):
                raise ValueError(f"[{name}] {needed} has to be set")
        self.name, self._options = name, options
        self._bucket: str = options.s3_store_bucket
        self._host: str = options.s3_store_host.rpartition("://")[2].rstrip("/")
        self.single_size: int = options.s3_store_large_object_size * MIB
        self.part_size: int = options.s3_store_large_object_chunk_size * MIB
        self.threads: int = options.s3_store_thread_pools
        self._lock = threading.Lock()

    def properties(self) -> dict[str, Any]:
        names = ("s3_store_large_object_size", "s3_store_large_object_chunk_size", "s3_store_thread_pools")
        return {name: getattr(self._options, name) for name in names}

    @cached_property
    def _made(self) -> Any:
        """Made on first use: by then the process has forked for the last time."""
        options = self._options
        style = options.s3_store_bucket_url_format
        config = botocore.config.Config(
            s3={"addressing_style": style},
            region_name=options.s3_store_region_name or None,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=SILENCE_SECONDS,
            retries={"max_attempts": 2, "mode": "standard"},
            max_pool_connections=32,
            proxies={},
            # Newer checksums are an extension that only some services know.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        host: str = options.s3_store_host
        with _failures(self.name):
            return boto3.session.Session().client(
                "s3",
                endpoint_url=host if "://" in host else f"https://{host}",
                aws_access_key_id=options.s3_store_access_key,
                aws_secret_access_key=options.s3_store_secret_key,
                verify=options.s3_store_cacert or None,
                config=config,
            )

    @property
    def _s3(self) -> Any:
        with self._lock:
            return self._made

    def location(self, key: str, upload: str | None = None) -> str:
        """Where an object is, or the parts of one."""
        return f"s3://{self._bucket}/{quote(key)}" + (f"?uploadId={quote(upload, safe='')}" if upload else "")

    def _key(self, location: str) -> tuple[str, str | None]:
        """The key, and the upload when it is no object yet."""
        elsewhere = naming.in_glance(location, "s3")
        if elsewhere is not None:
            host, bucket, key = elsewhere
            if (host, bucket) != (self._host, self._bucket):
                raise FileNotFoundError(f"{naming.without_secrets(location)} is not of this store")
            return key, None
        parts = urlsplit(location)
        if parts.scheme != "s3" or parts.netloc != self._bucket:
            raise FileNotFoundError(f"{naming.without_secrets(location)} is not of this store")
        upload = unquote(parts.query.removeprefix("uploadId=")) if parts.query else None
        return unquote(parts.path.lstrip("/")), upload

    # What a writer does.
    def create(self, image_id: str, size: int | None = None) -> S3Writer:
        self._need_bucket()
        return S3Writer(self, image_id, size)

    def _need_bucket(self) -> None:
        """Refuse at once what could only fail at the end."""
        try:
            with _failures(self._bucket):
                self._s3.head_bucket(Bucket=self._bucket)
        except FileNotFoundError as e:
            if not self._options.s3_store_create_bucket_on_put:
                raise StoreGone(f"the bucket {self._bucket} does not exist") from e
            region = self._options.s3_store_region_name
            place = {"CreateBucketConfiguration": {"LocationConstraint": region}} if region else {}
            with _failures(self._bucket):
                self._s3.create_bucket(Bucket=self._bucket, **place)

    def begin(self, key: str) -> str:
        """Begin an upload in parts; returns its id."""
        with _failures(key):
            return str(self._s3.create_multipart_upload(Bucket=self._bucket, Key=key)["UploadId"])

    def send_part(self, key: str, upload: str, number: int, data: bytes) -> str:
        """Store one part; returns its tag."""
        with _failures(key):
            reply = self._s3.upload_part(
                Bucket=self._bucket, Key=key, UploadId=upload, PartNumber=number, Body=data, ContentLength=len(data)
            )
        return str(reply["ETag"])

    def complete(self, key: str, upload: str, tags: list[str]) -> None:
        """Make one object of the parts."""
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        with _failures(key):
            self._s3.complete_multipart_upload(
                Bucket=self._bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
            )

    def put(self, key: str, data: bytes) -> None:
        """Store an object in one request."""
        with _failures(key):
            self._s3.put_object(Bucket=self._bucket, Key=key, Body=data, ContentLength=len(data))

    def abandon(self, key: str, upload: str) -> None:
        """Remove the parts; those that are gone already are fine."""
        with contextlib.suppress(_NoUpload), _failures(key):
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload)

    # What is stored.
    def read(self, location: str, offset: int, length: int) -> Iterator[bytes]:
        key, _ = self._key(location)

        def open_(first: int, count: int) -> Body:
            span = f"bytes={first}-{first + count - 1}"
            with _failures(key):
                return _Body(self._s3.get_object(Bucket=self._bucket, Key=key, Range=span)["Body"], key)

        return pieces(open_, offset, length)

    def size(self, location: str) -> int:
        key, _ = self._key(location)
        with _failures(key):
            return int(self._s3.head_object(Bucket=self._bucket, Key=key)["ContentLength"])

    def delete(self, location: str) -> None:
        key, upload = self._key(location)
        if upload is not None:
            self.abandon(key, upload)
            return
        with contextlib.suppress(FileNotFoundError), _failures(key):
            self._s3.delete_object(Bucket=self._bucket, Key=key)

    def discard(self, image_id: str) -> None:
        for _, location, _ in self._list(naming.prefix(image_id)):
            self.delete(location)

    def list_(self) -> Iterator[tuple[str, str, float]]:
        return self._list("")

    def _list(self, prefix: str) -> Iterator[tuple[str, str, float]]:
        now = datetime.datetime.now(datetime.UTC)
        with contextlib.suppress(StoreGone, FileNotFoundError), _failures(self._bucket):
            for page in self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Contents", ()):
                    image_id = naming.image_of(item["Key"])
                    if image_id:
                        yield image_id, self.location(item["Key"]), (now - item["LastModified"]).total_seconds()
            for page in self._s3.get_paginator("list_multipart_uploads").paginate(Bucket=self._bucket, Prefix=prefix):
                for item in page.get("Uploads", ()):
                    image_id = naming.image_of(item["Key"])
                    if image_id:
                        latest = self._latest(item["Key"], item["UploadId"], item["Initiated"])
                        yield image_id, self.location(item["Key"], item["UploadId"]), (now - latest).total_seconds()

    def _latest(self, key: str, upload: str, initiated: datetime.datetime) -> datetime.datetime:
        """When the last part of an upload came in."""
        times = [initiated]
        with contextlib.suppress(_NoUpload), _failures(key):  # completed while we look
            for page in self._s3.get_paginator("list_parts").paginate(Bucket=self._bucket, Key=key, UploadId=upload):
                times += [part["LastModified"] for part in page.get("Parts", ())]
        return max(times)
