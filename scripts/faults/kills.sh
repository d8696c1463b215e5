#!/usr/bin/env bash
# Five kills of `make fault`, one of each of the victims whose death is noticed in different ways.
source "$(dirname "$0")/lib.sh"
NAME=$name FAULTS=${FAULTS:-5} REPORT=- scripts/kills.py
