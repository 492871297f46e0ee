"""The exit codes of the programs."""

DONE = 0
WRONG_DIGEST = 1
USAGE = 2
REFUSED = 3
BROKEN = 4
LOCAL_FILE = 5
INTERRUPTED = 130
