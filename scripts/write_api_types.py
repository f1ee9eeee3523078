"""Writes the TypeScript declarations of the HTTP API's answers, with which the page's scripts are checked.

The exact command:

    python scripts/write_api_types.py

Run it when an answer of the API has changed; a test compares the file with the API.
"""

import argparse
import json
from pathlib import Path
from typing import Any, Final, cast

from fastapi import FastAPI

from zimage_cache.generator.fake import FakeGenerator
from zimage_cache.request import ModelProfile
from zimage_cache.web.api.cache import add_cache_api
from zimage_cache.web.api.generate import add_api
from zimage_cache.web.api.history import add_history_api
from zimage_cache.web.api.jobs import add_jobs_api
from zimage_cache.web.api.metrics import add_metrics
from zimage_cache.web.api.models import add_models_api
from zimage_cache.web.api.prompts import add_prompt_api

TARGET: Final = Path(__file__).parents[1] / "zimage_cache" / "web" / "page" / "lib" / "api.d.ts"
HEAD: Final = "// Answers of the HTTP API. Written by scripts/write_api_types.py: do not change this file by hand.\n"
SIMPLE: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"} | {
    "object": "Record<string, unknown>"
}


def main() -> None:
    """Write the file, or with --check compare it with the API."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if the file is not current")
    if not parser.parse_args().check:
        TARGET.write_text(declarations(), "utf-8")
    elif TARGET.read_text("utf-8") != declarations():
        raise SystemExit("lib/api.d.ts is not current: run python scripts/write_api_types.py")


def declarations() -> str:
    """Return the declarations of all answers."""
    schemas = openapi()["components"]["schemas"]
    return HEAD + "".join(f"\n{declaration(name, schemas[name])}" for name in sorted(schemas))


def openapi() -> dict[str, Any]:
    """Return the API's schema; its answers are the same for every model."""
    app, service = FastAPI(), cast("Any", OneModel())
    add_api(app, service, private=False)
    add_jobs_api(app, service, service)
    for add in (add_prompt_api, add_models_api, add_cache_api, add_metrics, add_history_api):
        add(app, service)
    return app.openapi()


class OneModel:
    """What the description of the API asks a service for."""

    models = ("fake",)
    history = None

    def profile(self, _name: str | None = None) -> ModelProfile:
        """Return the profile of the only model."""
        return FakeGenerator().profile


def declaration(name: str, schema: dict[str, Any]) -> str:
    """Return one schema as an interface, or as a type where it has no fields."""
    if "properties" not in schema:
        return f"export type {name} = {written(schema)};\n"
    return f"export interface {name} {fields(schema, indent='')}\n"


def fields(schema: dict[str, Any], indent: str) -> str:
    """Return the fields of an object in braces, a line each."""
    required = schema.get("required", [])
    lines = (
        f"{indent}  {name}{'' if name in required else '?'}: {written(field, indent + '  ')};\n"
        for name, field in schema["properties"].items()
    )
    return f"{{\n{''.join(lines)}{indent}}}"


def written(schema: dict[str, Any], indent: str = "") -> str:
    """Return the type of one value."""
    match schema:
        case {"$ref": str() as reference}:
            text = reference.rpartition("/")[2]
        case {"enum": list() as values}:
            text = " | ".join(map(json.dumps, values))
        case {"anyOf": list() as choices}:
            text = " | ".join(written(choice, indent) for choice in choices)
        case {"type": "array", "items": dict() as items}:
            text = f"({written(items, indent)})[]" if "anyOf" in items else f"{written(items, indent)}[]"
        case {"properties": dict()}:
            text = fields(schema, indent)
        case {"type": "object", "additionalProperties": dict() as values}:
            text = f"Record<string, {written(values, indent)}>"
        case {"type": str() as kind}:
            text = SIMPLE[kind]
        case _:
            text = "unknown"
    return text


if __name__ == "__main__":
    main()
