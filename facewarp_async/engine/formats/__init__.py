"""The containers of pictures and clips, read as bytes: what a file is, and what its header claims."""

from facewarp_async.engine.formats.kinds import Header, Kind, sniff

__all__ = ["Header", "Kind", "sniff"]
