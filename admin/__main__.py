"""`python -m admin`: the operator's command."""

from admin.cli import main

if __name__ == "__main__":
    main(prog_name="kaydangpt")
