# shellcheck shell=bash disable=SC2154
# Kafka, one node that is broker and controller.

kafka_fetch() {
  have java || install_packages kafka default-jre-headless
  with_lock kafka kafka_copy_jars
}

kafka_jars() {
  cached kafka "$here/kafka/pom.xml"
}

kafka_copy_jars() {
  local jars new
  jars=$(kafka_jars)
  [ ! -d "$jars" ] || return 0
  have mvn || fail "kafka is fetched by Maven: please install it (Debian: apt-get install maven)"
  new=$cache/kafka.new
  rm -rf "$new"
  quietly "$state/kafka/install.log" mvn -q -B -f "$here/kafka/pom.xml" dependency:copy-dependencies "-DoutputDirectory=$new"
  mv -T "$new" "$jars"
}

kafka_start() {
  local jars id
  jars=$(kafka_jars)
  choose_port "$state/kafka/port" "${CARTWRIGHT_KAFKA_PORT:-}" 19092
  choose_port "$state/kafka/controller-port" "${CARTWRIGHT_KAFKA_CONTROLLER_PORT:-}" 19093
  kafka_properties >"$state/kafka/server.properties"
  if [ ! -e "$state/kafka/data/meta.properties" ]; then
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')
    quietly "$state/kafka/install.log" \
      java -cp "$jars/*" kafka.tools.StorageTool format -t "$id" -c "$state/kafka/server.properties"
  fi
  detach kafka java -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
    '-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS' \
    -cp "$jars/*" kafka.Kafka "$state/kafka/server.properties"
}

# A node that was killed may register again when the session of its former self is over; 9 s is Kafka's default.
kafka_properties() {
  local broker controller
  broker=127.0.0.1:$(port kafka)
  controller=127.0.0.1:$(cat "$state/kafka/controller-port")
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$controller
listeners=PLAINTEXT://$broker,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$broker
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$state/kafka/data
auto.create.topics.enable=false
default.replication.factor=1
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
PROPERTIES
}

# Asks for the metadata of no topic (version 1); the third number of the answer, after its length and the id of the
# request, is how many brokers there are.
kafka_answers() {
  local answer
  answer=$(exchange "$(port kafka)" '\0\0\0\x0e\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' 12)
  [ "${answer:8}" = 0000000100000001 ]
}

kafka_stop_signal() {
  echo TERM
}

kafka_variable() {
  echo "KAFKA_BROKERS=127.0.0.1:$(port kafka)"
}
