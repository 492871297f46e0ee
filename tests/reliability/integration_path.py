"""Makes the modules of tests/integration importable: to be imported before them."""

import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "integration"))
