"""`python -m tinyml.conformance.opinfo`."""

import sys

from tinyml.conformance.opinfo.run import main

sys.exit(main())
