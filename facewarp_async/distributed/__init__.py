"""A batch on several machines: Dask runs the ordinary pipeline on each, a coordinator keeps what they share."""

try:
    from facewarp_async.distributed.driver import SHARD_SIZE, DistributedPipeline
    from facewarp_async.distributed.reaching import copy_journal
except ModuleNotFoundError as _missing:
    if _missing.name not in {"distributed", "dask"}:
        raise
    from facewarp_async.errors import MissingExtraError

    raise MissingExtraError("several machines take Dask distributed: pip install 'facewarp-async[dask]'") from _missing

__all__ = ["SHARD_SIZE", "DistributedPipeline", "copy_journal"]
