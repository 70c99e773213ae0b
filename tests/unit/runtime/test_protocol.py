"""``protocol.json`` against the host's parser, the captured logs and the agent's constants."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
from agent_on_disk import agent

from shufflenet_deploy.atomic_files import resource
from shufflenet_deploy.bounded import INT_MIN
from shufflenet_deploy.runtime import agent_log, sustained
from shufflenet_deploy.target import plausibility
from shufflenet_deploy.target.health import CLOCK_PROGRAM
from shufflenet_deploy.target.sensors import read_sensors

PROTOCOL = json.loads(resource("device_scripts", "protocol.json").read_text())
LOGS = Path(__file__).parents[1] / "bench" / "logs"
PARSERS = {
    "measurement": agent_log.MeasurementLog,
    "failure": agent_log.FailureLog,
    "sustained": sustained.SustainedLog,
    "sustained_failure": sustained.SustainedFailureLog,
}
UNITS = {
    "ns": "ns",
    "bytes": "bytes",
    "khz": "kHz",
    "c": "degC",
    "cores": "cores",
    "percent": "percent",
    "threads": "threads",
}
sensors = agent.sensors
READINGS = [0, 1, 32, 199, 200, 201, 999, 1000, 41300, 125_000, 199_999, 200_000, 2_147_483_647]


def test_it_is_a_json_schema():
    jsonschema.Draft202012Validator.check_schema(PROTOCOL)


@pytest.mark.parametrize("path", sorted(LOGS.glob("*.json")), ids=lambda path: path.stem)
def test_captured_logs_follow_it(path):
    kind = "failure" if path.stem == "failure" else "measurement"
    schema = {**PROTOCOL, "anyOf": [{"$ref": f"#/$defs/{kind}"}]}
    jsonschema.Draft202012Validator(schema).validate(json.loads(path.read_text()))


def leaves(schema, name=""):
    """Every part of a schema that may be a number, with the key it stands below."""
    types = schema.get("type", ())
    if (
        {types} & {"integer", "number"}
        if isinstance(types, str)
        else {"integer", "number"} & {*types}
    ):
        yield name, schema
    for key, part in schema.get("properties", {}).items():
        yield from leaves(part, key)
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from leaves(schema[key], name)


def test_every_number_states_the_unit_that_its_key_names():
    numbers = [one for part in PROTOCOL["$defs"].values() for one in leaves(part)]
    assert len(numbers) > 30
    for key, schema in numbers:
        assert schema.get("unit"), key
        suffix = key.rpartition("_")[2]
        assert schema["unit"] == UNITS.get(suffix, schema["unit"]), key


def resolved(schema, whole):
    while "$ref" in schema:
        schema = whole["$defs"][schema["$ref"].rpartition("/")[2]]
    return schema


def alternatives(schema, whole):
    """The types that a schema allows, null apart, and the part that says more about the other."""
    schema = resolved(schema, whole)
    if "const" in schema:
        return {{int: "integer", str: "string"}[type(schema["const"])]}, False, schema
    if "anyOf" in schema:
        parts = [resolved(part, whole) for part in schema["anyOf"]]
        (part,) = (part for part in parts if part["type"] != "null")
        return {part["type"]}, len(parts) > 1, part
    types = {schema["type"]} if isinstance(schema["type"], str) else {*schema["type"]}
    return types - {"null"}, "null" in types, schema


def lowest(schema):
    """The smallest number that a schema allows; None without a limit."""
    if "exclusiveMinimum" in schema:
        return schema["exclusiveMinimum"] + 1
    found = schema.get("minimum")
    return None if found == INT_MIN else found


def compare(stated, parsed, parser, where, *, optional=False):
    """Fail where format and parser differ in keys, types, nulls or lower limits."""
    types, nullable, stated = alternatives(stated, PROTOCOL)
    parsed_types, parsed_nullable, parsed = alternatives(parsed, parser)
    assert parsed_types == types, where
    # The parser stands for an absent key with None.
    assert parsed_nullable == (nullable or optional), where
    if "array" in types:
        assert parsed.get("minItems") == stated.get("minItems"), where
        compare(stated["items"], parsed["items"], parser, f"{where}[]")
    elif "properties" in parsed:
        assert parsed["additionalProperties"] is False, where
        assert parsed["properties"].keys() == stated["properties"].keys(), where
        assert {*parsed["required"]} == {*stated["required"]}, where
        for key, part in stated["properties"].items():
            compare(
                part,
                parsed["properties"][key],
                parser,
                f"{where}.{key}",
                optional=key not in stated["required"],
            )
    elif isinstance(stated.get("additionalProperties"), dict):
        mapped = (stated["additionalProperties"], parsed["additionalProperties"])
        compare(*mapped, parser, f"{where}.*")
    elif "object" not in types and "string" not in types:
        assert lowest(parsed) == lowest(stated), where


@pytest.mark.parametrize("kind", PARSERS)
def test_the_parser_reads_just_these_keys_and_types(kind):
    parser = PARSERS[kind].model_json_schema(by_alias=True)
    compare(PROTOCOL["$defs"][kind], parser, parser, kind)


def test_a_missing_key_would_be_noticed():
    parser = agent_log.MeasurementLog.model_json_schema(by_alias=True)
    del parser["$defs"]["_Clock"]["properties"]["read_ns"]
    with pytest.raises(AssertionError, match="clock"):
        compare(PROTOCOL["$defs"]["measurement"], parser, parser, "measurement")


def test_the_parser_knows_every_kind_of_failure():
    kinds = PROTOCOL["$defs"]["error"]["properties"]["kind"]["enum"]
    assert list(agent_log.FAILURES) == kinds


def test_the_agent_names_the_same_kinds_of_failure():
    source = "".join(path.read_text() for path in resource("device_scripts").rglob("*.py"))
    named = set(re.findall(r'(?:Failed\(|"kind": )"([a-z-]+)"', source))
    kinds = PROTOCOL["$defs"]["error"]["properties"]["kind"]["enum"]
    # Those of the runtimes' exceptions stand in a table.
    assert named | {"model-corrupt"} == set(kinds)


def test_every_program_has_the_same_schema_number():
    numbers = {
        PROTOCOL["$defs"][kind]["properties"]["schema"]["const"] for kind in (*PARSERS, "listing")
    }
    source = resource("device_scripts", "sustained.py").read_text()
    assert numbers == {agent.program.SCHEMA, agent_log.SCHEMA}
    assert f"\nSCHEMA = {agent.program.SCHEMA}\n" in source


def test_the_agent_holds_the_limits_of_plausibility():
    rules = PROTOCOL["plausibility"]
    temperature = rules["temperature"]
    assert temperature["max_degrees_reading"] == sensors.MAX_DEGREES_READING
    assert (temperature["min_c"], temperature["max_c"]) == (sensors.MIN_C, sensors.MAX_C)
    frequency = rules["frequency"]
    assert (frequency["min_khz"], frequency["max_khz"]) == (sensors.MIN_KHZ, sensors.MAX_KHZ)
    assert rules["clock"]["readings"] == agent.sampling.CLOCK_READINGS
    assert f"range({agent.sampling.CLOCK_READINGS})" in CLOCK_PROGRAM


@pytest.mark.parametrize("reading", [*READINGS, *(-one for one in READINGS), 49_999, -49_999])
def test_host_and_agent_convert_a_temperature_alike(reading):
    try:
        expected = sensors._celsius(float(reading))
    except ValueError:
        expected = None
    assert plausibility.celsius(reading) == expected
    seen = read_sensors(f"zone {reading} cpu\n").temperature_c if abs(reading) < 1e9 else {}
    assert seen.get("cpu") == (expected if abs(reading) < 1e9 else None)


@pytest.mark.parametrize("khz", [0, 999, 1000, 1_800_000, 20_000_000, 20_000_001])
def test_host_and_agent_accept_the_same_frequencies(khz):
    try:
        accepted = sensors._khz(str(khz)) == khz
    except ValueError:
        accepted = False
    assert plausibility.is_frequency(khz) == accepted


def test_the_parser_drops_readings_of_broken_sensors():
    log = json.loads((LOGS / "native.json").read_text())
    log["conditions"]["before"] |= {
        "frequency_khz": {"0": 1_500_000, "1": 0},
        "temperature_c": {"cpu": 45.5, "off": 0.0, "absent": -274.0},
        "battery": {"percent": 80, "status": "Full", "temperature_c": 3000.0},
    }
    before = agent_log.parse_log(json.dumps(log)).before
    assert before.frequency_khz == {"0": 1_500_000}
    assert before.temperature_c == {"cpu": 45.5}
    assert before.battery_percent == 80


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("float32", -1, 1), ("bool", 0, 1), ("int64", 0, 1), ("int32", 0, 1), ("uint8", 0, 255)],
)
def test_inputs_of_any_type_are_filled_within_what_it_takes(dtype, low, high):
    tensor = {"name": "x", "shape": [2, 500], "dtype": dtype}
    (array,) = agent.input_arrays([tensor], None, 0)
    assert (array.dtype.name, array.shape) == (dtype, (2, 500))
    assert low <= array.min() < array.max() <= high
    assert (agent.input_arrays([tensor], None, 0)[0] == array).all()


def test_shapes_of_open_inputs_are_read_from_json():
    words = ["--runtime", "litert", "--model", "m", "--shapes"]
    assert agent.parse_arguments([*words, '{"x":[1,3]}']).shapes == {"x": [1, 3]}
    for wrong in ("x", "[1]", '{"x":[0]}', '{"x":3}'):
        with pytest.raises(agent.Failed):
            agent.parse_arguments([*words, wrong])
