#!/bin/sh
# Makes the environment that the server runs in, unless it is there already.
set -eu

made=.venv/requirements.txt
cmp -s requirements.txt "$made" && exit 0
python3 -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
python3 -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
# Last, so that what was broken off is made anew.
cp requirements.txt "$made"
