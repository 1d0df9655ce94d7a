"""
Vertex AI's ranking API, which scores passages against a question.

https://cloud.google.com/generative-ai-app-builder/docs/reference/rest/v1/projects.locations.rankingConfigs/rank
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared.errors import RankingUnavailable

if TYPE_CHECKING:
    from requests import Session

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_URL = "https://discoveryengine.googleapis.com"
DEFAULT_MODEL = "semantic-ranker-default@latest"
# The stage waits less; this ends the call that it no longer waits for.
_TIMEOUT_SECONDS = 2.0


class RankingApi:
    """
    The ranking API of a project, by REST: its client library is not among the packages.

    Args:
        session: Sends the requests, with credentials; None takes the process's own.
    """

    def __init__(
        self,
        *,
        project: str,
        model: str = DEFAULT_MODEL,
        url: str = _URL,
        session: Session | None = None,
    ) -> None:
        self._url = (
            f"{url}/v1/projects/{project}/locations/global/rankingConfigs/"
            "default_ranking_config:rank"
        )
        self._project = project
        self._model = model
        self._session = session or _open_session()

    def score(self, question: str, texts: Sequence[str]) -> list[float]:
        """
        Return how well each of *texts* answers *question*, in their order; 0 to 1.

        Raises:
            RankingUnavailable: The service does not answer, or not with a score for each text.
        """
        import requests
        from google.auth.exceptions import GoogleAuthError

        records = [{"id": str(place), "content": text} for place, text in enumerate(texts)]
        body = {
            "model": self._model,
            "query": question,
            "records": records,
            "ignoreRecordDetailsInResponse": True,
        }
        try:
            response = self._session.post(
                self._url,
                json=body,
                headers={"X-Goog-User-Project": self._project},
                timeout=_TIMEOUT_SECONDS,
            )
        except (requests.RequestException, GoogleAuthError) as error:
            raise RankingUnavailable(f"{type(error).__name__}: {error}") from error
        if response.status_code != requests.codes.ok:
            raise RankingUnavailable(f"the ranking API answered {response.status_code}")
        try:
            scores = {each["id"]: float(each["score"]) for each in response.json()["records"]}
            return [scores[record["id"]] for record in records]
        except (ValueError, LookupError, TypeError) as error:
            raise RankingUnavailable("the ranking API answered without scores") from error


def _open_session() -> Session:
    import google.auth
    from google.auth.transport.requests import AuthorizedSession

    credentials, _project = google.auth.default(scopes=[_SCOPE])
    session: Session = AuthorizedSession(credentials)  # type: ignore[no-untyped-call]  # theirs
    return session
