"""What is deployed on Kubernetes: the values' fragments and the pod template against Kubernetes' own schemas, and ours."""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator
from typing import Any

import kubernetes_validate
import pytest
import yaml

from logstream import doctor

from .production import DOCKERFILE
from .stage import PROJECT

FOLDER = PROJECT / "deploy" / "kubernetes"
VALUES = yaml.safe_load((FOLDER / "values.yaml").read_text())
POD = yaml.safe_load((FOLDER / "pod-template.yaml").read_text())
PAGE = (PROJECT / "docs/kubernetes.md").read_text()
COMPOSE = yaml.safe_load((PROJECT / "docker-compose.yml").read_text())
COMPONENTS = ("apiServer", "scheduler", "dagProcessor", "triggerer", "workers")
IMAGE = f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"


def check(document: dict[str, Any]) -> None:
    """Strictly: a field that Kubernetes does not know is a mistake."""
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def deployment(component: str) -> dict[str, Any]:
    """What the chart makes of a component's values, where it hands them on as they are."""
    found = VALUES[component]
    secrets = [
        {"name": one["envName"], "valueFrom": {"secretKeyRef": {"name": one["secretName"], "key": one["secretKey"]}}}
        for one in VALUES["secret"]
    ]
    container = {
        "name": component.lower(),
        "image": IMAGE,
        "env": [*VALUES["env"], *found.get("env", []), *secrets],
        "resources": found["resources"],
    }
    pod = {"containers": [container]}
    if "terminationGracePeriodSeconds" in found:
        pod["terminationGracePeriodSeconds"] = found["terminationGracePeriodSeconds"]
    labels = {"component": component.lower()}
    return {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": component.lower()},
        "spec": {
            "replicas": found.get("replicas", 1), "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }  # fmt: skip


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_kubernetes_reads_of_the_values_is_valid(component: str) -> None:
    check(deployment(component))


def test_the_pod_template_is_valid_and_what_the_executor_wants() -> None:
    check(POD)
    (container,) = POD["spec"]["containers"]
    assert container["name"] == "base" and POD["spec"]["restartPolicy"] == "Never"
    assert container["image"] == IMAGE
    assert container["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize(
    "path", ["spec.containers.0.resources.limits", "spec.terminationGracePeriodSeconds", "spec.containers.0.env.0.name"]
)
def test_a_mistake_is_found(path: str) -> None:
    """The schemas are not so wide that anything is valid."""
    broken: Any = copy.deepcopy(POD)
    *parents, last = path.split(".")
    place = broken
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[f"{last}x"] = place.pop(last)
    with pytest.raises(kubernetes_validate.ValidationError):
        check(broken)


def test_versions_are_those_of_the_image() -> None:
    assert any(line.startswith(f"FROM apache/airflow:{VALUES['airflowVersion']}-") for line in DOCKERFILE)
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert VALUES["defaultAirflowTag"] == project["version"]
    assert IMAGE in PAGE


def environment() -> Iterator[dict[str, Any]]:
    yield from VALUES["env"]
    yield from VALUES["workers"]["env"]
    yield from ({"name": one["envName"]} for one in VALUES["secret"])
    yield from POD["spec"]["containers"][0]["env"]


def test_every_variable_of_ours_is_one_that_is_read() -> None:
    ours = {one["name"] for one in environment() if one["name"].startswith("LOGSTREAM_")}
    assert ours and ours <= doctor.VARIABLES.keys()


def test_secrets_are_named_here_and_made_as_the_page_says() -> None:
    texts = "".join((FOLDER / name).read_text() for name in ("values.yaml", "pod-template.yaml"))
    assert not re.search(r"postgresql(\+\w+)?://|AIRFLOW_CONN_|password:", texts)
    wanted = {(one["secretName"], one["secretKey"]) for one in VALUES["secret"]}
    wanted |= {
        (one["valueFrom"]["secretKeyRef"]["name"], one["valueFrom"]["secretKeyRef"]["key"])
        for one in environment()
        if "valueFrom" in one
    }
    # the chart's own names of keys (its values.yaml)
    for field, key in (("fernetKeySecretName", "fernet-key"), ("jwtSecretName", "jwt-secret"), ("apiSecretKeySecretName", "api-secret-key")):  # fmt: skip
        wanted.add((VALUES[field], key))
    wanted.add((VALUES["data"]["metadataSecretName"], "connection"))
    documented = set(re.findall(r"^\| `([a-z-]+)` \| `([a-z-]+)` \|", PAGE, re.MULTILINE))
    assert wanted == documented
    for name, key in documented:
        command = PAGE[PAGE.index(f"create secret generic {name}") :].split("```")[0].split("kubectl")[0]
        assert f"--from-literal={key}=" in command, (name, key)


def test_a_worker_has_as_long_to_end_as_in_the_compose_file() -> None:
    assert COMPOSE["services"]["airflow-worker"]["stop_grace_period"] == "2m"
    assert VALUES["workers"]["terminationGracePeriodSeconds"] == 120
    assert POD["spec"]["terminationGracePeriodSeconds"] == 120
    worker = {one["name"]: one["value"] for one in VALUES["workers"]["env"]}
    assert worker["DUMB_INIT_SETSID"] == COMPOSE["services"]["airflow-worker"]["environment"]["DUMB_INIT_SETSID"]
