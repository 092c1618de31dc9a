"""Jobs from a folder of media, or from a manifest that lists them."""

from facewarp_async.sources.folder import FolderJobs, jobs_from_folder
from facewarp_async.sources.manifest import ManifestJobs, jobs_from_manifest

__all__ = ["FolderJobs", "ManifestJobs", "jobs_from_folder", "jobs_from_manifest"]
