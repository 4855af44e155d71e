"""`python -m depthtui`."""

import sys

from depthtui.cli import main

sys.exit(main())
