#!/bin/sh
# Runs tools/bootstrap.py with any Python that starts; that script then looks for one that fits.
# A name on the PATH proves little: version managers leave shims that fail when they are called.
for python in python3 python3.13 python3.12 python3.11 "${PYTHON:-python}"; do
    if "$python" -c 'import json, subprocess' >/dev/null 2>&1; then
        exec "$python" -B tools/bootstrap.py "$@"
    fi
done
echo "Gatepost needs Python 3.11 or newer, and no Python was found here: install one, or name it with PYTHON=/path/to/python3." >&2
exit 1
