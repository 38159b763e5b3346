"""An Airflow around a task that fails: what its supervisor answers, in the supervisor's own classes."""

from __future__ import annotations

from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import (
    ConnectionResult,
    ErrorResponse,
    GetConnection,
    GetVariable,
    GetVariableKeys,
    VariableKeysResult,
    VariableResult,
)

FAILURES = {
    # as `CommsDecoder._from_frame` raises what `WatchedSubprocess.handle_requests` sends for an api-server that fails or is away
    "the api-server fails": lambda: AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR)),
    "the supervisor is gone": BrokenPipeError,
    "it is denied": lambda: AirflowRuntimeError(ErrorResponse(error=ErrorType.PERMISSION_DENIED)),
    # the api-server looks up as the SDK does, and answers 404 where its database fails; its other answers are 500 then
    "the api-server's database fails": lambda: AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR)),
}

FIELDS = ("host", "schema", "login", "password", "port", "extra")


class Supervisor:
    """Answers a task's questions about connections and Variables; `fails`, the next so many questions by `failure`."""

    def __init__(self, connections: dict[str, dict[str, Any]], variables: dict[str, str]) -> None:
        self.connections, self.variables = connections, variables
        self.fails, self.failure = 0, "the api-server fails"

    def send(self, question: object) -> object:
        """As `CommsDecoder.send`: an answer, `ErrorResponse` for what is not there, or an exception."""
        if self.fails:
            self.fails -= 1
            if self.failure == "the api-server's database fails" and isinstance(question, GetConnection | GetVariable):
                what = "CONNECTION" if isinstance(question, GetConnection) else "VARIABLE"
                return ErrorResponse(error=ErrorType(f"{what}_NOT_FOUND"))
            raise FAILURES[self.failure]()
        if isinstance(question, GetConnection):
            found = self.connections.get(question.conn_id)
            if found is None:
                return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
            return ConnectionResult.model_validate({**dict.fromkeys(FIELDS), "conn_id": question.conn_id, **found})
        if isinstance(question, GetVariable):
            text = self.variables.get(question.key)
            if text is None:
                return ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
            return VariableResult(key=question.key, value=text)
        if isinstance(question, GetVariableKeys):
            keys = [key for key in self.variables if key.startswith(question.prefix or "")]
            return VariableKeysResult(keys=keys, total_entries=len(keys))
        return None  # a secret to be masked in logs

    async def asend(self, question: object) -> object:
        """The same, for triggers."""
        return self.send(question)

    @classmethod
    def of_this_process(
        cls,
        monkeypatch: pytest.MonkeyPatch,
        connections: dict[str, dict[str, Any]] | None = None,
        variables: dict[str, str] | None = None,
    ) -> Supervisor:
        """Let this process be a task with such a supervisor."""
        made = cls(connections or {}, variables or {})
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", made, raising=False)
        return made


MANY = 1_000
