"""`python cli.py ...` in a checkout is `hrkit ...`."""

from hrkit.cli import main

main()
