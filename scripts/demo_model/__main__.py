"""`python scripts/demo_model COMMAND`."""

from commands import main

main()
