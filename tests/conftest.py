"""Settings shared by all tests."""

import os
import sys
from pathlib import Path

from hypothesis import settings

# Tests cannot import each other (each is imported by its path); what several rooms share lies in tests/support.
sys.path.insert(0, str(Path(__file__).parent / "support"))

# The same examples on every run, so that a failure is the change's and not the day's. No deadline: time is
# not what these tests are about, and a busy machine is slow.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
# New examples on every run and more of them, to search for faults: HYPOTHESIS_PROFILE=search make test
settings.register_profile("search", deadline=None, max_examples=1000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
