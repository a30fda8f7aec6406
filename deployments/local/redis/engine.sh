# shellcheck shell=bash disable=SC2154,SC2034
# Redis, as a cache: it stores nothing, and drops what was used least when it is full.

redis_fetch() {
  have redis-server || install_packages redis redis-server
}

redis_start() {
  local as_user
  as_user redis
  own redis "$state/redis/data"
  choose_port "$state/redis/port" "${CARTWRIGHT_REDIS_PORT:-}" 16379
  detach redis "$(command -v redis-server)" --bind 127.0.0.1 --port "$(port redis)" --daemonize no --dir "$state/redis/data" \
    --save '' --appendonly no --maxmemory 256mb --maxmemory-policy allkeys-lru
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
