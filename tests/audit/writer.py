"""A process that writes into a log until it is killed: each entry that was reported is a line on stdout."""

from __future__ import annotations

import sys
from pathlib import Path

from anomalist.audit.log import AuditLog


def main() -> None:
    """Append numbered entries; say so of each once it is done."""
    folder, name, count = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    with AuditLog(folder, segment_bytes=20_000) as log:
        for number in range(count):
            written = log.append("inspection", {"record": {"source": f"{name}-{number}"}})
            sys.stdout.write(f"{name}-{number} {written.position}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
