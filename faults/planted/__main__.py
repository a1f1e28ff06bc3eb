"""`python -m faults.planted NAME …`: break the relay as named, then run the command line."""

from __future__ import annotations

import sys

from faults.planted import PLANTED, unknown


def main() -> None:
    """Break the relay as named, then run the command line."""
    name, *rest = sys.argv[1:] or [""]
    if name not in PLANTED:
        sys.exit(unknown(name))
    PLANTED[name].apply()
    sys.argv[1:] = rest
    import meshrelay

    meshrelay.main()


if __name__ == "__main__":
    main()
