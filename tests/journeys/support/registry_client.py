"""Another house's clients of a schema registry: its serialiser writes raw events, its deserialiser reads what Lethe wrote.

Usage: registry_client.py produce BOOTSTRAP URL TOPIC SCHEMA   (events as JSON lines on standard input; the schema is registered)
       registry_client.py read BOOTSTRAP URL TOPIC...          (prints a JSON object: records by topic)
"""
import json, sys

from confluent_kafka import Consumer, KafkaError, OFFSET_BEGINNING, Producer, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext


def produce(bootstrap, url, topic, schema):
    serialise = AvroSerializer(SchemaRegistryClient({"url": url}), open(schema).read())
    producer = Producer({"bootstrap.servers": bootstrap})
    for line in sys.stdin:
        event = json.loads(line)
        value = serialise(event, SerializationContext(topic, MessageField.VALUE))
        producer.produce(topic, value, key=event["event_id"])
    assert producer.flush(60) == 0, "not everything was delivered"


def read(bootstrap, url, *topics):
    deserialise = AvroDeserializer(SchemaRegistryClient({"url": url}))
    settings = {"bootstrap.servers": bootstrap, "group.id": "registry-client", "isolation.level": "read_committed"}
    consumer = Consumer(settings | {"enable.auto.commit": False, "enable.partition.eof": True})
    found = {topic: [] for topic in topics}
    for topic in topics:
        partitions = len(consumer.list_topics(topic, 10).topics[topic].partitions)
        consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
        at_end = set()
        while len(at_end) < partitions:
            message = consumer.poll(30)
            assert message is not None, f"no end of {topic}"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error().str()
                at_end.add(message.partition())
            elif message.value() is not None:
                found[topic].append(deserialise(message.value(), SerializationContext(topic, MessageField.VALUE)))
    print(json.dumps(found, default=str))


{"produce": produce, "read": read}[sys.argv[1]](*sys.argv[2:])
