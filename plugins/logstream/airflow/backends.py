"""Whether Airflow has a connection or a Variable, asked so that a secrets backend that fails does not count as a "no".

Airflow's own look-ups ask one secrets backend after another and take every error for a no. So a connection whose backend is away
looks like a connection that does not exist, and Logstream would take another database, or leave manifests unsigned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
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
    with cannot_say(kind, name):
        backends = imported("airflow.sdk.execution_time.supervisor").ensure_secrets_backend_loaded()
    for backend in backends:
        called = type(backend).__name__
        ask = backend.get_connection if kind is Kept.CONNECTION else backend.get_variable
        with cannot_say(kind, name, f"{called}: "):
            found = _api_has(kind, name) if called == _BY_API else ask(name) is not None
        if found:
            return True
    return False


def variable(name: str) -> str | None:
    """The text of a Variable, `None` if there is none. Raises `AirflowAway` if Airflow cannot say.

    `airflow.sdk.Variable.get` gives its default for both.
    """
    with cannot_say(Kept.VARIABLE, name):
        get = imported("airflow.sdk.definitions.variable").Variable.get
        found = get(name, default=None)
        if found is None and has(Kept.VARIABLE, name):
            found = get(name, default=None)
    return None if found is None else str(found)


@contextmanager
def cannot_say(kind: Kept, name: str, backend: str = "") -> Iterator[None]:
    """Let what is raised while Airflow is asked be `AirflowAway`.

    Also while its modules are imported: that makes the secrets backends, and one whose service is away may fail by then.
    """
    try:
        yield
    except AirflowAway:
        raise
    except Exception as error:  # the words of others' errors may hold what they were given
        raise AirflowAway(
            f"{kind.value} `{name}`: Airflow cannot say whether there is one ({backend}{type(error).__name__}); see whether its "
            "api-server, its database and its secrets backends answer"
        ) from None


_BY_API = "ExecutionAPISecretsBackend"
"""What asks the api-server, through the process that watches over a task or a trigger. It takes every error for a no itself."""


def _api_has(kind: Kept, name: str) -> bool:
    """Whether the api-server has it. It looks up as the SDK does: its 404 says "no" also where its own database fails.

    So it is asked first for something that it reads from that database without such a look-up: that answer is an error then.
    """
    comms: Any = imported("airflow.sdk.execution_time.comms")
    errors: Any = imported("airflow.sdk.exceptions")
    send = imported("airflow.sdk.execution_time.task_runner").SUPERVISOR_COMMS.send
    keys = send(comms.GetVariableKeys(prefix=name, limit=1))
    if not isinstance(keys, comms.VariableKeysResult):
        raise TypeError(type(keys).__name__)
    if kind is Kept.CONNECTION:
        question, no = comms.GetConnection(conn_id=name), errors.ErrorType.CONNECTION_NOT_FOUND
    else:
        question, no = comms.GetVariable(key=name), errors.ErrorType.VARIABLE_NOT_FOUND
    answer = send(question)
    if isinstance(answer, comms.ErrorResponse):
        if answer.error != no:
            raise errors.AirflowRuntimeError(answer)
        return False
    return answer is not None
