#!/usr/bin/env bash
# A broker to try things out, without Docker: docker/broker/start.sh [FOLDER] starts Apache Kafka on 127.0.0.1:9092 and stays in front (Ctrl-C ends
# it). Fetched once by Maven; Java 17. Data stay in FOLDER (by default target/broker); delete it to begin anew. Its housekeeping runs every second.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${1:-$root/target/broker}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
jars=$root/target/broker-jars
if [ ! -e "$jars/.whole" ]; then
  mvn -q -B -f "$here/pom.xml" dependency:copy-dependencies -DoutputDirectory="$jars"
  touch "$jars/.whole"
fi
port=${PORT:-9092}
sed -e "s/@PORT@/$port/g; s/@SASL_PORT@/$((port + 1))/g; s/@CONTROLLER_PORT@/$((port + 2))/g; s#@DATA@#$folder/data#" \
  "$here/server.properties.in" >"$folder/server.properties"
kafka() { exec java -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -cp "$jars/*" "$@"; }
[ -e "$folder/data/meta.properties" ] || (kafka kafka.tools.StorageTool format -t bGV0aGVqb3VybmV5czAwMQ -c "$folder/server.properties")
kafka kafka.Kafka "$folder/server.properties"
