"""
A typed client of KaydangPT's HTTP interface (docs/client.md).

    from kaydangpt_client import Client

    with Client("https://SERVICE", token="KEY") as client:
        print(client.ask("When was the Eiffel Tower finished?")["answer"])

Answers are the JSON of the service, typed in kaydangpt_client.types.
"""

from kaydangpt_client.client import Client
from kaydangpt_client.errors import ClientError, ProblemError, Unreachable
from kaydangpt_client.streams import AnswerStream

__all__ = ["AnswerStream", "Client", "ClientError", "ProblemError", "Unreachable"]
