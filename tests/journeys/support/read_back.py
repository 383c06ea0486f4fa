"""Reads what Lethe wrote with clients of other houses, checks it, and prints a summary as JSON.

Usage: read_back.py BOOTSTRAP TENANT SCHEMAS TOPIC...
Every topic is read from its beginning to its end; a record that is not what the schemas and the design say ends the program.
"""
import base64, collections, io, json, os, re, struct, sys

import confluent_kafka, fastavro
from fastavro.schema import fingerprint, load_schema, to_parsing_canonical_form


def murmur2(data):
    """As Kafka's Java client partitions keys."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = 0x9747B28C ^ len(data)
    for at in range(0, len(data) // 4 * 4, 4):
        k = int.from_bytes(data[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    rest = data[len(data) // 4 * 4 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


class Schema:
    def __init__(self, path):
        self.schema = load_schema(path)
        self.prefix = b"\xc3\x01" + bytes.fromhex(fingerprint(to_parsing_canonical_form(self.schema), "CRC-64-AVRO"))

    def read(self, value):
        assert value[:10] == self.prefix, "another schema's fingerprint"
        body = io.BytesIO(value[10:])
        record = fastavro.schemaless_reader(body, self.schema)
        assert not body.read(), "bytes after the record"
        return record


def pseudonym(text):
    epoch, body = text.split(".")
    raw = base64.urlsafe_b64decode(body + "==")
    assert len(body) == 22 and len(raw) == 16, "a pseudonym's length"
    return int(epoch), raw


def header_of(message):
    headers = dict(message.headers() or [])
    lethe = headers["lethe"]
    version, epoch, at = struct.unpack(">BHq", lethe[:11])
    assert version == 1 and (len(lethe) - 11) % 16 == 0, "the header's layout"
    return headers, epoch, at, [lethe[i : i + 16] for i in range(11, len(lethe), 16)]


HOUR_MS = 3_600_000
# Ages at which a destination stops taking an event, less the margin for retries; shops and refunds have their own.
AGES_H = {"meta": (162, 1482), "google_ads": (2160,), "google_ads_enhancement": (24, 1296), "google_data_manager": (2160,),
          "tiktok": (162,), "ga4": (72,)}
CLICK_WAIT_MS = int(os.environ.get("CLICK_WAIT_MS", 6 * HOUR_MS))


def check_destination(headers, destination, tenant, at):
    """Checks the headers of a record that is ready to be sent: these, no other, once each."""
    names = ["lethe", "destination", "tenant", "consent", "rules", "target", "not-after"] + ["not-before"] * ("not-before" in headers)
    assert sorted(headers) == sorted(names), "the headers' names"
    text = {name: value.decode() for name, value in headers.items() if name != "lethe"}
    assert (text["destination"], text["tenant"]) == (destination, tenant)
    assert text["consent"] in ("granted", "denied", "not_required") and re.fullmatch("[0-9a-f]{12}", text["rules"]) and text["target"]
    assert int(text["not-after"]) - at in [hours * HOUR_MS for hours in AGES_H[destination]], "until when it may be sent"
    # An event dated ahead by a fast clock waits for its own time.
    waits = (at + CLICK_WAIT_MS,) if destination == "google_ads" else (at, None)
    assert int(text.get("not-before", 0)) in [wait or 0 for wait in waits], "from when it may be sent"


def check(message, short, tenant, partitions, schemas):
    """Checks a record about a subject, and returns its value."""
    subject, event_id = message.key().decode().split("/")
    assert message.partition() == murmur2(subject.encode()) % partitions, "the partition is the subject's"
    pseudonym(subject.removeprefix("-")), pseudonym(event_id)
    headers, epoch, at, identifiers = header_of(message)
    assert len(headers) == len(message.headers()), "a header twice"
    if short.startswith("dest."):
        check_destination(headers, short[5:], tenant, at)
        return json.loads(message.value())
    record = schemas["network" if short == "network" else "record"].read(message.value())
    assert (record["subject"], record["event_id"], record["tenant"]) == (subject, event_id, tenant)
    assert int(record["occurred_at"].timestamp() * 1000 + 0.5) == at
    if short != "network":
        assert record["category"] == short and record["key_epoch"] == epoch
        listed = [pseudonym(i["pseudonym"]) for i in record["identifiers"]]
        assert listed == [(epoch, i) for i in identifiers], "the header's pseudonyms are the record's"
        assert subject.startswith("-") or subject in [i["pseudonym"] for i in record["identifiers"]]
    return record


def main():
    bootstrap, tenant, directory, *topics = sys.argv[1:]
    schemas = {name: Schema(f"{directory}/{name}/{name}.avsc") for name in ("record", "network")}
    settings = {"bootstrap.servers": bootstrap, "group.id": "read-back", "enable.auto.commit": False, "isolation.level": "read_committed"}
    consumer = confluent_kafka.Consumer(settings | {"auto.offset.reset": "earliest", "enable.partition.eof": True})
    counts, reasons, facts, places, rows = collections.Counter(), collections.Counter(), collections.defaultdict(collections.Counter), set(), {}
    for topic in topics:
        short = topic.removeprefix(tenant + ".")
        partitions = len(consumer.list_topics(topic, 10).topics[topic].partitions)
        consumer.assign([confluent_kafka.TopicPartition(topic, p, confluent_kafka.OFFSET_BEGINNING) for p in range(partitions)])
        at_end, keys = set(), collections.Counter()
        while len(at_end) < partitions:
            message = consumer.poll(30)
            assert message is not None, f"no end of {topic}"
            if message.error():
                assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error().str()
                at_end.add(message.partition())
                continue
            counts[short] += 1
            if short in ("quarantine", "notices"):
                value = json.loads(message.value())
                assert set(value) <= {"reason", "type", "category", "field", "topic", "partition", "offset", "received_at"}
                reasons[value.get("reason", value.get("type"))] += 1
                place = (value["topic"], value["partition"], value["offset"])
                assert short == "notices" or place not in places, "a row twice in quarantine"
                places.add(place)
                continue
            keys[message.key()] += 1
            value = check(message, short, tenant, partitions, schemas)
            if short == "events":
                note(facts, value)
        assert not keys or keys.most_common(1)[0][1] == 1, f"a key twice in {topic}"
        rows[short] = len(keys)
    top = {name: counter.most_common(12) for name, counter in facts.items()}
    print(json.dumps({"counts": counts, "reasons": reasons, "keys": rows, "facts": top}))


def note(facts, record):
    """What the records look like, for whoever reads the summary."""
    device, page, campaign = record["device"] or {}, record["page"] or {}, record["campaign"] or {}
    facts["device_class"][device.get("class")] += 1
    facts["bot"][device.get("is_bot")] += 1
    facts["browser"][device.get("browser")] += 1
    facts["bot_name"][device.get("browser") if device.get("is_bot") else None] += 1
    facts["os"][device.get("os")] += 1
    facts["host"][page.get("host")] += 1
    facts["path"][page.get("path")] += 1
    facts["masked_path"][page.get("path") if ":" in (page.get("path") or "") else None] += 1
    facts["referrer_host"][page.get("referrer_host")] += 1
    for name in ("source", "medium", "campaign", "term", "content", "click_platform"):
        facts[name][campaign.get(name)] += 1
    facts["ip_truncated"][record["ip_truncated"]] += 1
    facts["event_name"][record["event_name"]] += 1
    facts["legal_basis"][record["legal_basis"]] += 1


main()
