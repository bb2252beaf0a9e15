"""``python -m aberra``."""

from aberra.cli import main

if __name__ == "__main__":
    main()
