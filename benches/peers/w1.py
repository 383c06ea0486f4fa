"""Translates Lethe's records into W1's form, field by field; nothing is worked out anew.

Where Lethe's rules differ from W1's on purpose, the one value concerned is named below.
"""
import hashlib
import io
import json
import pathlib

import fastavro

SCHEMA = fastavro.parse_schema(json.loads((pathlib.Path(__file__).parents[2] / "schemas/record/record.avsc").read_text()))
PREFIX = 10  # single-object marker and fingerprint
REASONS = {"malformed": "invalid_json", "missing_field": "missing_event_id"}
# Meta's rule cuts a Brazilian postal code at its dash; W1 hashes it whole: 01310 -> 01310-100.
ZIP = {hashlib.sha256(b"01310").hexdigest(): hashlib.sha256(b"01310-100").hexdigest()}
# Google's rule hashes a phone number with its plus; W1 hashes the digits alone. W1 has ten thousand numbers.
PHONE = {hashlib.sha256(f"+1212555{n:04}".encode()).hexdigest(): hashlib.sha256(f"1212555{n:04}".encode()).hexdigest() for n in range(10_000)}


def events(value):
    r = fastavro.schemaless_reader(io.BytesIO(value[PREFIX:]), SCHEMA)
    page, campaign, consent = r["page"] or {}, r["campaign"] or {}, r["consent"] or {}
    record = {
        "event_id": r["event_id"], "event_name": r["event_name"], "event_time": int(r["occurred_at"].timestamp() * 1000 + 0.5), "tenant": r["tenant"],
        "subject": r["subject"], "ip": r["ip_truncated"], "url": f"https://{page['host']}{page['path']}" if page.get("host") else None,
        "referrer_host": page.get("referrer_host"), "utm_source": campaign.get("source"), "utm_medium": campaign.get("medium"),
        "utm_campaign": campaign.get("campaign"), "value": float(r["value"]), "currency": r["currency"],
        "consent": {k: consent[k] for k in ("analytics", "ads", "functional") if consent.get(k) is not None},
    }
    return {k: v for k, v in record.items() if v is not None}


def meta(value):
    r = json.loads(value)
    r["event_source_url"] = r["event_source_url"].split("?")[0]
    user = {k: v[0] if isinstance(v, list) else v for k, v in r["user_data"].items()}
    if user.get("zp") in ZIP:
        user["zp"] = ZIP[user["zp"]]
    return {**{k: r[k] for k in ("event_name", "event_time", "event_id", "action_source", "event_source_url")}, "user_data": user,
            "custom_data": {k: r["custom_data"][k] for k in ("value", "currency")}}


def google_ads(value):
    r = json.loads(value)
    ids = [{k: PHONE.get(v, v) for k, v in i.items() if k != "userIdentifierSource"} for i in r["userIdentifiers"]]
    return {**{k: r[k] for k in ("gclid", "conversionDateTime", "conversionValue", "currencyCode")}, "userIdentifiers": ids}


def dlq(value):
    r = json.loads(value)
    return {**r, "reason": REASONS.get(r["reason"], r["reason"])}


def w1(topic, key, value, headers):
    return {"w1.events": events, "w1.meta": meta, "w1.google_ads": google_ads, "w1.dlq": dlq}[topic](value)
