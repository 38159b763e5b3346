"""Whether Airflow has a connection or a Variable, asked so that a keeper of them that fails is no "no".

Airflow's own look-ups ask one secrets backend after another and take every error for a no: of a connection that nobody has
and of one whose keeper is away they say the same. What is done without a connection is then done for one that is only away:
another database is taken, manifests stay unsigned.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from logstream.airflow.importing import imported
from logstream.errors import AirflowAway


class Kept(Enum):
    """What Airflow keeps by name."""

    CONNECTION = "connection"
    VARIABLE = "Variable"


def has(kind: Kept, name: str) -> bool:
    """Whether any of Airflow's secrets backends has a connection or a Variable. Raises `AirflowAway` if one of them cannot say.

    They are asked as `_get_connection` and `_get_variable` of `airflow.sdk.execution_time.context` ask them.
    """
    for backend in imported("airflow.sdk.execution_time.supervisor").ensure_secrets_backend_loaded():
        keeper = type(backend).__name__
        ask = backend.get_connection if kind is Kept.CONNECTION else backend.get_variable
        try:
            found = _api_has(kind, name) if keeper == _BY_API else ask(name) is not None
        except Exception as error:  # the words of others' errors may hold what they were given
            raise away(kind, name, f"{keeper}: {type(error).__name__}") from None
        if found:
            return True
    return False


def variable(name: str) -> str | None:
    """The text of a Variable, `None` if there is none. Raises `AirflowAway` if Airflow cannot say.

    `airflow.sdk.Variable.get` gives its default for both.
    """
    get = imported("airflow.sdk.definitions.variable").Variable.get
    try:
        found = get(name, default=None)
        if found is None and has(Kept.VARIABLE, name):
            found = get(name, default=None)
    except AirflowAway:
        raise
    except Exception as error:
        raise away(Kept.VARIABLE, name, type(error).__name__) from None
    return None if found is None else str(found)


def away(kind: Kept, name: str, what: str) -> AirflowAway:
    """What is said where Airflow cannot tell."""
    return AirflowAway(
        f"{kind.value} `{name}`: Airflow cannot say whether there is one ({what}); see whether its api-server, its database and "
        "its secrets backends answer"
    )


_BY_API = "ExecutionAPISecretsBackend"
"""What asks the api-server, through the process that watches over a task or a trigger. It takes every error for a no itself."""


def _api_has(kind: Kept, name: str) -> bool:
    comms: Any = imported("airflow.sdk.execution_time.comms")
    errors: Any = imported("airflow.sdk.exceptions")
    if kind is Kept.CONNECTION:
        question, no = comms.GetConnection(conn_id=name), errors.ErrorType.CONNECTION_NOT_FOUND
    else:
        question, no = comms.GetVariable(key=name), errors.ErrorType.VARIABLE_NOT_FOUND
    answer = imported("airflow.sdk.execution_time.task_runner").SUPERVISOR_COMMS.send(question)
    if isinstance(answer, comms.ErrorResponse):
        if answer.error != no:
            raise errors.AirflowRuntimeError(answer)
        return False
    return answer is not None
