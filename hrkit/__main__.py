"""`python -m hrkit` runs the program, also if it is not on the PATH."""

from hrkit.cli import main

if __name__ == "__main__":
    main()
