"""What ``--help`` says besides the options."""

from __future__ import annotations

PROGRAM = """\
Exit codes:
    0  all done
    1  some files failed or are in doubt
    2  usage: a wrong option, a file that cannot be used, missing credentials
    3  the batch was stopped: no credits left, --max-credits reached,
       token refused, disk full
  130  interrupted by Ctrl-C or SIGTERM; run the same command again to go on

Environment:
  FACEWARP_API_KEY, or FACEWARP_CLIENT_ID with FACEWARP_CLIENT_SECRET
  FACEWARP_PROVIDER, FACEWARP_BASE_URL
  NO_COLOR

Examples:
  facewarp demo
  facewarp swap team.jpg me.jpg
  facewarp batch holiday --face me.jpg -o swapped
"""

DEMO = """\
Examples:
  facewarp demo
  facewarp demo -o /tmp/faces
"""

SWAP = """\
Examples:
  facewarp swap team.jpg me.jpg
  facewarp swap clip.mp4 me.jpg -o clip-with-me.mp4 --hd
  facewarp swap team.jpg me.jpg -o results --provider vidnoz
"""

FACES = """\
Examples:
  facewarp faces group.jpg
  facewarp faces group.jpg -o crops --json
"""

MULTI_USAGE = "Usage: facewarp multi --face INDEX=FILE [OPTIONS] MEDIA"

MULTI = """\
Examples:
  facewarp multi group.jpg --face 0=me.jpg
  facewarp multi group.jpg --face 0=me.jpg --face 2=you.jpg -o swapped.jpg --hd
"""

BATCH_USAGE = "Usage: facewarp batch --out PATH|URL [OPTIONS] [FOLDER]"

BATCH = """\
Examples:
  facewarp batch holiday --face me.jpg -o swapped
  facewarp batch holiday --face me.jpg -o swapped --dry-run
  facewarp batch holiday --face me.jpg -o out --include '*.jpg' --exclude raw
  facewarp batch holiday --face me.jpg -o swapped --max-credits 100
  facewarp batch holiday --face me.jpg -o swapped --json > outcomes.jsonl
  facewarp batch holiday --face me.jpg -o swapped --report swapped/report.html
  facewarp batch --manifest jobs.csv -o swapped --provider miocreate --rps 5

After a crash or Ctrl-C the same command goes on where it ended.
"""

REPORT = """\
Examples:
  facewarp report swapped
  facewarp report swapped -o holiday.html --pictures embed
"""

TASK = """\
Examples:
  facewarp task 4711 --provider vidnoz
  facewarp task 4711 -o result.jpg --provider vidnoz
"""

SERVE = """\
Examples:
  facewarp serve
  facewarp serve --port 8600 --data-dir state --api-key secret
  facewarp serve --rps 1 --credits 100
"""

COMPLETION = """\
Examples:
  facewarp completion bash > ~/.local/share/bash-completion/completions/facewarp
  facewarp completion zsh > "${fpath[1]}/_facewarp"
  facewarp completion fish > ~/.config/fish/completions/facewarp.fish
"""
