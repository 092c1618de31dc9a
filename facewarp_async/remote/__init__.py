"""Files that lie elsewhere, through fsspec: looked at, listed, read and written a piece at a time.

Nothing here imports fsspec before a URL is used. All of fsspec's calls are made in threads of our own, which may be
left behind: a store that hangs holds up neither the event loop, nor a cancellation, nor the end of the process.
"""
