#!/bin/sh
# Makes the environment that the server runs in, unless it is there already.
set -eu

made=.venv/requirements.txt
cmp -s requirements.txt "$made" && exit 0
python3 -m venv --clear .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements.txt
cp requirements.txt "$made"
