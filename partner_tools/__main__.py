"""`python -m partner_tools` is `partner-tools`."""

from partner_tools.cli import main

if __name__ == "__main__":
    main()
