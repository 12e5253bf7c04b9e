"""Calls each GET operation that needs no token with the generated Python client, and prints the classes of results."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from gatepost_client import Client


def main(file: str, url: str) -> None:
    """Print a JSON object with the class of the result by operation."""
    document = json.loads(Path(file).read_text(encoding="utf-8"))
    client = Client(base_url=url)
    results = {}
    for item in document["paths"].values():
        operation = item.get("get")
        if operation is None or not (operation["security"] == [] or {} in operation["security"]):
            continue
        arguments = example_arguments(operation)
        if any(name.endswith("_id") for name in arguments):
            continue
        module = import_module(f"gatepost_client.api.{operation['tags'][0]}.{operation['operationId']}")
        response = module.sync_detailed(**arguments, client=client)
        assert response.status_code == 200, (operation["operationId"], response)
        results[operation["operationId"]] = type(response.parsed).__name__
    print(json.dumps(results))


def example_arguments(operation: dict[str, Any]) -> dict[str, Any]:
    """Return an example of each argument in the path."""
    schemas = {item["name"]: item["schema"] for item in operation["parameters"] if item.get("in") == "path"}
    return {name: (schema.get("examples") or schema["enum"])[0] for name, schema in schemas.items()}


main(*sys.argv[1:])
