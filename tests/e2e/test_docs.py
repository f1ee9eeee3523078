"""What programs and people can read about the API, without leaving this machine."""

import re


def test_the_documentation_needs_no_other_host(house):
    """`/docs` answers a page whose scripts and styles this very server has."""
    page = house.client.get("/docs")

    assert page.status_code == 200
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    assert all(house.client.get(source).status_code == 200 for source in sources if source.startswith("/"))
    assert not [source for source in sources if not source.startswith("/")]


def test_the_schema_tells_every_field_of_a_request(house):
    """`/openapi.json` lists our routes, and each field of a request with its range."""
    schema = house.client.get("/openapi.json").json()

    assert {"/generate", "/lookup", "/images/{name}.png", "/health", "/ready"} <= schema["paths"].keys()
    body = schema["paths"]["/generate"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert {"prompt", "width", "seed", "n", "cache", "model", "style"} <= body["properties"].keys()
    assert body["required"] == ["prompt"]
    assert body["properties"]["n"]["maximum"] == 8


def test_the_schema_tells_of_jobs(house):
    """Their routes, the same body as `/generate`, every field of a state, and a stream of events."""
    schema = house.client.get("/openapi.json").json()

    paths = schema["paths"]
    assert {"/jobs", "/jobs/{job_id}", "/jobs/{job_id}/events"} <= paths.keys()
    assert paths["/jobs"]["post"]["requestBody"] == paths["/generate"]["post"]["requestBody"]
    assert "202" in paths["/jobs"]["post"]["responses"]
    assert set(paths["/jobs/{job_id}"]) == {"get", "delete"}
    assert "text/event-stream" in paths["/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]
    state = schema["components"]["schemas"]["JobState"]
    assert set(state["required"]) == set(state["properties"]) >= {"id", "state", "phase", "position", "images", "error"}
    assert "age_seconds" in schema["components"]["schemas"]["Image"]["required"]
