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
  chmod -R u=rwX,go=rX "$new"
  mv -T "$new" "$jars"
}

kafka_start() {
  local jars java id as_user
  jars=$(kafka_jars)
  java=$(command -v java)
  as_user kafka
  own kafka "$state/kafka/data"
  choose_port "$state/kafka/port" "${CARTWRIGHT_KAFKA_PORT:-}" 19092
  choose_port "$state/kafka/controller-port" "${CARTWRIGHT_KAFKA_CONTROLLER_PORT:-}" 19093
  choose_port "$state/kafka/tls-port" "${CARTWRIGHT_KAFKA_TLS_PORT:-}" 19094
  choose_port "$state/kafka/login-port" "${CARTWRIGHT_KAFKA_LOGIN_PORT:-}" 19095
  give_certificate kafka
  secret "$state/kafka/password"
  cat "$tls/server.key" "$tls/server.pem" | show kafka "$state/kafka/keystore.pem"
  kafka_properties | show kafka "$state/kafka/server.properties"
  if ! "${as_user[@]}" test -e "$state/kafka/data/meta.properties"; then
    kafka_users | show kafka "$state/kafka/users"
    id=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d '=')
    quietly "$state/kafka/install.log" "${as_user[@]}" \
      "$java" -cp "$jars/*" kafka.tools.StorageTool format -t "$id" -c "$state/kafka/server.properties" \
      "@$state/kafka/users"
  fi
  detach kafka "$java" -Xmx512m -Dorg.slf4j.simpleLogger.defaultLogLevel=warn -Dorg.slf4j.simpleLogger.showDateTime=true \
    '-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd HH:mm:ss.SSS' \
    -cp "$jars/*" kafka.Kafka "$state/kafka/server.properties"
}

# A node that was killed may register again when the session of its former self is over; 9 s is Kafka's default.
kafka_properties() {
  local broker controller secured login password plain listener
  broker=127.0.0.1:$(port kafka)
  secured=$(cat "$state/kafka/tls-port")
  login=127.0.0.1:$(cat "$state/kafka/login-port")
  password=$(cat "$state/kafka/password")
  plain='org.apache.kafka.common.security.plain.PlainLoginModule required'
  controller=127.0.0.1:$(cat "$state/kafka/controller-port")
  cat <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@$controller
listeners=PLAINTEXT://$broker,SECURED://127.0.0.1:$secured,LOGIN://$login,CONTROLLER://$controller
advertised.listeners=PLAINTEXT://$broker,SECURED://localhost:$secured,LOGIN://$login
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURED:SASL_SSL,LOGIN:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.secured.ssl.keystore.type=PEM
listener.name.secured.ssl.keystore.location=$state/kafka/keystore.pem
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
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
  for listener in secured login; do
    echo "listener.name.$listener.plain.sasl.jaas.config=$plain user_cartwright=\"$password\";"
    echo "listener.name.$listener.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
    echo "listener.name.$listener.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"
  done
}

# Arguments of the tool that makes the store; in a file, because everybody sees those of a process.
kafka_users() {
  local mechanism
  for mechanism in SCRAM-SHA-256 SCRAM-SHA-512; do
    echo --add-scram
    echo "$mechanism=[name=cartwright,password=$(cat "$state/kafka/password")]"
  done
}

# Whether clients find all that they need. A new Kafka is slow with the last two, and clients ask again seconds later.
kafka_answers() {
  kafka_has_a_broker && kafka_has_a_coordinator && kafka_has_producer_ids
}

# kafka_call REQUEST COUNT: sends what follows on the length of a request, and prints that of the answer, in so many bytes.
kafka_call() {
  local length
  # shellcheck disable=SC2059
  length=$(printf "$1" | wc -c)
  exchange "$(port kafka)" "\\0\\0\\0\\x$(printf %02x "$length")$1" "$((4 + $2))" | tail -c "+9"
}

# Asks for the metadata of no topic (version 1). The second number of the answer, after the id of the request, is how many
# brokers there are.
kafka_has_a_broker() {
  [ "$(kafka_call '\0\x03\0\x01\0\0\0\x01\xff\xff\0\0\0\0' 8)" = 0000000100000001 ]
}

# Asks who coordinates the group `up` (version 0), which makes the topic of the groups' offsets. Then comes an error's code.
kafka_has_a_coordinator() {
  [ "$(kafka_call '\0\x0a\0\0\0\0\0\x01\xff\xff\0\x02up' 6)" = 000000010000 ]
}

# Asks for the id of a producer without transactions (version 0). Then come how long to wait, and an error's code.
kafka_has_producer_ids() {
  [ "$(kafka_call '\0\x16\0\0\0\0\0\x01\xff\xff\xff\xff\0\0\0\0' 10)" = 00000001000000000000 ]
}

kafka_stop_signal() {
  echo TERM
}

kafka_variable() {
  echo "KAFKA_BROKERS=127.0.0.1:$(port kafka)"
}

# KAFKA_LOGIN_BROKERS is no setting: a listener with a login and without TLS, for builds that have no OpenSSL.
kafka_secured() {
  cat <<VARIABLES
KAFKA_BROKERS=localhost:$(cat "$state/kafka/tls-port")
KAFKA_SECURITY_PROTOCOL=sasl_ssl
KAFKA_SASL_MECHANISM=SCRAM-SHA-512
KAFKA_SASL_USERNAME=cartwright
KAFKA_SASL_PASSWORD_FILE=$state/kafka/password
KAFKA_CA_FILE=$tls/ca.pem
KAFKA_LOGIN_BROKERS=127.0.0.1:$(cat "$state/kafka/login-port")
VARIABLES
}
