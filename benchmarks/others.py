"""The clients of others, installed from PyPI into an environment of their own."""

from __future__ import annotations

import subprocess
import tempfile
import venv
from pathlib import Path

OTHERS = (
    "aiohttp",
    "attrs",
    "boto3==1.44.5",
    "httpx==0.28.1",
    "magic_hour==0.90.0",
    "replicate==1.0.7",
    "wavespeed==2.0.5",
)
"""In the releases that were measured; the first two are what the benchmarks themselves need there."""


def python_with_others() -> str:
    """Return the Python of that environment, which is made the first time and kept among the temporary files."""
    folder = Path(tempfile.gettempdir()) / "facewarp-others"
    python, listed = folder / "bin" / "python", folder / "installed.txt"
    wanted = "\n".join(OTHERS)
    if not listed.exists() or listed.read_text() != wanted:
        print(f"installing {', '.join(OTHERS)} into {folder}", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *OTHERS], check=True)
        listed.write_text(wanted)
    return str(python)
