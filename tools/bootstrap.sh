#!/bin/sh
# Runs tools/bootstrap.py with any Python that starts; that script then finds a suitable version.
# Each candidate is started, because version managers leave shims on the PATH that fail when called.
for python in python3 python3.13 python3.12 python3.11 "${PYTHON:-python}"; do
    if "$python" -c 'import json, subprocess' >/dev/null 2>&1; then
        exec "$python" -B tools/bootstrap.py "$@"
    fi
done
echo "Gatepost needs Python 3.11 or newer, and no Python was found: install one, or set PYTHON=/path/to/python3." >&2
exit 1
