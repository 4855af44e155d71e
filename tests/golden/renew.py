"""Write the golden reports anew: `python -m tests.golden.renew`."""

from __future__ import annotations

from pathlib import Path

from tests.golden.cases import is_kept, make_reports

GOLDEN = Path(__file__).parent / "reports"


def golden_files() -> dict[str, Path]:
    """The files that are there, by their path below `GOLDEN`."""
    paths = sorted(path for path in GOLDEN.rglob("*") if path.is_file())
    return {path.relative_to(GOLDEN).as_posix(): path for path in paths}


def renew() -> list[str]:
    """Write what differs and delete what no case makes; returns a line for each file."""
    reports = {name: report for name, report in make_reports().items() if is_kept(name)}
    stored = golden_files()
    lines = []
    for name in sorted(reports.keys() | stored.keys()):
        path = GOLDEN / name
        if name not in reports:
            path.unlink()
            lines.append(f"deleted {name}")
        elif name not in stored or path.read_bytes() != reports[name]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(reports[name])
            lines.append(f"{'changed' if name in stored else 'new'} {name}")
    return lines


if __name__ == "__main__":
    print("\n".join(renew()) or "Nothing has changed.")
