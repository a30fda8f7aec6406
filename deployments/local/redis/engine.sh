# shellcheck shell=bash disable=SC2154,SC2034
# Redis, as a cache: it stores nothing, and drops what was used least when it is full.

redis_fetch() {
  have redis-server || install_packages redis redis-server
}

redis_start() {
  local as_user
  as_user redis
  own redis "$state/redis/data"
  give_certificate redis
  secret "$state/redis/password"
  choose_port "$state/redis/port" "${CARTWRIGHT_REDIS_PORT:-}" 16379
  choose_port "$state/redis/tls-port" "${CARTWRIGHT_REDIS_TLS_PORT:-}" 16380
  redis_configuration | show redis "$state/redis/redis.conf"
  detach redis "$(command -v redis-server)" "$state/redis/redis.conf"
}

# The user that has no name may do everything, without a password; `cartwright` what the shop does.
redis_configuration() {
  cat <<CONFIGURATION
bind 127.0.0.1
port $(port redis)
tls-port $(cat "$state/redis/tls-port")
tls-cert-file $state/redis/server.pem
tls-key-file $state/redis/server.key
tls-auth-clients no
user cartwright on >$(cat "$state/redis/password") ~* resetchannels +@connection +@read +@write +@scripting
daemonize no
dir $state/redis/data
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
CONFIGURATION
}

# "+PONG"
redis_answers() {
  [ "$(exchange "$(port redis)" 'PING\r\n' 5)" = 2b504f4e47 ]
}

redis_stop_signal() {
  echo TERM
}

redis_variable() {
  echo "REDIS_ADDR=127.0.0.1:$(port redis)"
}

redis_secured() {
  cat <<VARIABLES
REDIS_ADDR=localhost:$(cat "$state/redis/tls-port")
REDIS_TLS=true
REDIS_CA_FILE=$tls/ca.pem
REDIS_USER=cartwright
REDIS_PASSWORD_FILE=$state/redis/password
VARIABLES
}
