"""Validates documents by a JSON Schema, as other people's tools do.

Usage: validate.py SCHEMA < DOCUMENTS, a JSON list. Prints a JSON list: for each document what is wrong with it, by place and rule, never by value.
"""
import json, sys

from jsonschema import Draft202012Validator

with open(sys.argv[1], encoding="utf-8") as file:
    schema = json.load(file)
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
faults = lambda document: [f"{error.json_path}: {error.validator}" for error in validator.iter_errors(document)]
print(json.dumps([faults(document) for document in json.load(sys.stdin)]))
