"""Compares exports with what clients of other houses read, and prints a summary as JSON.

Usage: compare_export.py BOOTSTRAP KEYRING SCHEMAS TENANT EMAIL JSONL CSV SUBJECT_JSONL TOPIC...
The topics are read with confluent-kafka, decoded with fastavro; of each key the newest version stands, a deleted one does not. A person's
pseudonym is worked out here, from the keyring.
"""
import base64, csv, datetime, hashlib, hmac, io, json, struct, sys, tomllib

import confluent_kafka, fastavro
from fastavro.schema import load_schema


def plain(value):
    """As an export has it: bytes in base64, times in milliseconds."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime.datetime):
        return round((value - datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)) / datetime.timedelta(milliseconds=1))
    if isinstance(value, dict):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value


def standing(consumer, topic):
    """The newest committed version of each key, in the order of partitions and offsets."""
    partitions = len(consumer.list_topics(topic, 10).topics[topic].partitions)
    consumer.assign([confluent_kafka.TopicPartition(topic, p, confluent_kafka.OFFSET_BEGINNING) for p in range(partitions)])
    at_end, newest, rewritten, deleted = set(), {}, 0, 0
    while len(at_end) < partitions:
        message = consumer.poll(30)
        assert message is not None, f"no end of {topic}"
        if message.error():
            assert message.error().code() == confluent_kafka.KafkaError._PARTITION_EOF, message.error().str()
            at_end.add(message.partition())
            continue
        place = (message.partition(), message.key())
        rewritten += place in newest and message.value() is not None
        deleted += newest.pop(place, None) is not None and message.value() is None
        if message.value() is not None:
            newest[place] = message
    return sorted(newest.values(), key=lambda m: (m.partition(), m.offset())), rewritten, deleted


def text(value):
    """As a cell, but for the guard."""
    if value is None or value == [] or value == {}:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, dict)):
        return value
    return str(value)


def check_row(row, line):
    """A row of the table says what the line says."""
    record, kind = line["record"], line["kind"]
    for name in ("topic", "kind", "partition", "offset", "stored_at", "occurred_at"):
        assert row[name] == str(line[name]), name
    assert row["key"].removeprefix("'") == line["key"]
    if kind.startswith("dest."):
        assert json.loads(row["destination_body"]) == record
        return
    for name, value in record.items():
        if value is None and name not in row:
            continue  # a record within the record, whose columns are empty
        if isinstance(value, dict) and name not in ("custom", "exit"):
            cells = {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            cells = {name: value}
        for column, each in cells.items():
            want = text(each)
            have = row[column]
            if isinstance(want, (list, dict)):
                assert json.loads(have) == want, column
            elif isinstance(each, float):
                assert float(have) == each, column
            else:
                assert have == want or (isinstance(each, str) and have.replace("'", "") == want.replace("'", "")), (column, kind)


def main():
    csv.field_size_limit(1 << 24)
    bootstrap, keyring, directory, tenant, email, jsonl, table, subject, *topics = sys.argv[1:]
    schemas = {name: load_schema(f"{directory}/{name}/{name}.avsc") for name in ("record", "network", "session")}
    settings = {"bootstrap.servers": bootstrap, "group.id": "compare-export", "enable.auto.commit": False, "isolation.level": "read_committed"}
    consumer = confluent_kafka.Consumer(settings | {"auto.offset.reset": "earliest", "enable.partition.eof": True})
    keys = [k for k in tomllib.load(open(keyring, "rb"))["key"] if k["tenant"] == tenant]
    person = {(k["epoch"], hmac.new(base64.b64decode(k["key"]), b"email\0" + email.encode(), hashlib.sha256).digest()[:16]) for k in keys}
    want, theirs, summary = [], [], {"rewritten": 0, "deleted": 0, "counts": {}}
    for topic in topics:
        kind = topic.removeprefix(tenant + ".")
        messages, rewritten, deleted = standing(consumer, topic)
        summary["rewritten"] += rewritten
        summary["deleted"] += deleted
        summary["counts"][kind] = len(messages)
        for m in messages:
            lethe = dict(m.headers())["lethe"]
            _, epoch, at = struct.unpack(">BHq", lethe[:11])
            identifiers = [lethe[i : i + 16] for i in range(11, len(lethe), 16)]
            if kind.startswith("dest."):
                record = json.loads(m.value())
            else:
                schema = schemas[{"network": "network", "sessions": "session"}.get(kind, "record")]
                record = plain(fastavro.schemaless_reader(io.BytesIO(m.value()[10:]), schema))
            shown = [f"{epoch}." + base64.urlsafe_b64encode(i).decode().rstrip("=") for i in identifiers]
            line = {"topic": topic, "kind": kind, "partition": m.partition(), "offset": m.offset(), "stored_at": m.timestamp()[1],
                    "key": m.key().decode(), "occurred_at": at, "identifiers": shown, "record": record}
            want.append(line)
            if any((epoch, i) in person for i in identifiers):
                theirs.append(line)
    for name, path, lines in (("the tenant's", jsonl, want), ("the person's", subject, theirs)):
        have = [json.loads(line) for line in open(path, encoding="utf-8", newline="\n")]
        assert len(have) == len(lines), f"{name} export has {len(have)} records, other clients read {len(lines)}"
        for number, (mine, other) in enumerate(zip(have, lines)):
            different = [k for k in mine.keys() | other.keys() if mine.get(k) != other.get(k)]
            assert not different, f"{name} export differs in line {number + 1}: {different}"
    rows = list(csv.DictReader(open(table, encoding="utf-8", newline=""), strict=True))
    assert len(rows) == len(want), "rows of the table"
    formulas = 0
    for row, line in zip(rows, want):
        assert None not in row and None not in row.values(), "every row has a cell for every column"
        check_row(row, line)
        for cell in row.values():
            formulas += cell.lstrip()[:1] in tuple("=+-@")  and not cell.replace(".", "").lstrip("-").isdigit()
    summary |= {"all": len(want), "theirs": len(theirs), "formulas": formulas}
    print(json.dumps(summary))


main()
