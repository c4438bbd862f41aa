"""Write the generated pages: ``python -m tools.docs [FOLDER]``."""

import sys
from pathlib import Path

from .pages import main

main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
