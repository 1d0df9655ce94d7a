"""`python -m admin`: the operator's command."""

import logging

from admin.cli import main

if __name__ == "__main__":
    # The pool warns of each try to connect; the command says once, in a sentence, why it failed.
    logging.getLogger("psycopg.pool").addHandler(logging.NullHandler())
    main(prog_name="kaydangpt")
