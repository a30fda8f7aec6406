# shellcheck shell=bash disable=SC2154
# PostgreSQL, a cluster of its own.

postgresql_fetch() {
  [ -n "$(postgresql_programs)" ] || install_packages postgresql postgresql
  [ -n "$(postgresql_programs)" ] || fail 'postgresql is needed in version 15 or newer'
}

# Where initdb and postgres are: of the version that the data have, or the newest.
postgresql_programs() {
  local programs version data=$state/postgresql/data/PG_VERSION
  {
    ls -d /usr/lib/postgresql/*/bin 2>/dev/null || true
    ! have pg_config || pg_config --bindir
  } | while read -r programs; do
    version=$("$programs/postgres" --version 2>/dev/null | sed -n 's/^postgres (PostgreSQL) \([0-9]*\).*/\1/p')
    [ "${version:-0}" -ge 15 ] || continue
    [ ! -e "$data" ] || [ "$(cat "$data")" = "$version" ] || continue
    echo "$version $programs"
  done | sort -n | sed -n '$s/^[0-9]* //p'
}

# There are two roles. `cartwright` is the shop's and that of tests: it owns the database of the same name and may make others, and
# is nothing more. `administrator` is the superuser, for these scripts alone: it gets in by the socket only, with a password that only they can read.
postgresql_start() {
  local home=$state/postgresql programs as_user
  programs=$(postgresql_programs)
  as_user postgresql
  own postgresql "$home/socket"
  if [ ! -d "$home/data" ]; then
    postgresql_create
  elif [ ! -e "$home/administrator" ]; then
    of_an_earlier_version postgresql
  fi
  ! is_of_another_boot postgresql || postgresql_was_killed
  postgresql_await_burial
  postgresql_access | show postgresql "$home/pg_hba.conf"
  give_certificate postgresql
  choose_port "$home/port" "${CARTWRIGHT_POSTGRESQL_PORT:-}" 15432
  detach postgresql "$programs/postgres" -D "$home/data" -c listen_addresses=127.0.0.1 \
    -c "port=$(port postgresql)" -c "unix_socket_directories=$home/socket" -c "hba_file=$home/pg_hba.conf" -c max_connections=500 \
    -c ssl=on -c "ssl_cert_file=$home/server.pem" -c "ssl_key_file=$home/server.key"
}

# Who gets in from where.
postgresql_access() {
  cat <<'ACCESS'
local all administrator scram-sha-256
host all administrator all reject
host all all 127.0.0.1/32 scram-sha-256
ACCESS
}

# Takes away the locks of a server of which no process is left. By their numbers the next one might take others for it.
postgresql_was_killed() {
  rm -f "$state/postgresql/data/postmaster.pid" "$state/postgresql/socket/".s.PGSQL.*
}

# The server takes the process of a predecessor for alive until init has taken it away.
postgresql_await_burial() {
  local pid end=$((SECONDS + 10))
  pid=$("${as_user[@]}" head -n 1 "$home/data/postmaster.pid" 2>/dev/null) || return 0
  while [ -e "/proc/$pid" ] && ! began "$pid" >/dev/null && [ "$SECONDS" -lt "$end" ]; do
    sleep 0.05
  done
}

# Makes the cluster beside its place and moves it there when it is complete.
postgresql_create() {
  local new=$home/new log=$home/install.log
  rm -rf "$new"
  own postgresql "$new"
  secret "$home/password"
  secret "$home/administrator"
  (
    cd "$new" || exit 1
    quietly "$log" "${as_user[@]}" "$programs/initdb" -D "$new" -U administrator --auth=reject --encoding=UTF8 --locale=C
    postgresql_roles | "${as_user[@]}" "$programs/postgres" --single -j -D "$new" template1 >>"$log" 2>&1
    ! grep -q '^ERROR' "$log" || fail "the roles and the database could not be made (see $log)"
  )
  mv -T "$new" "$home/data"
}

# Statements for the server without connections, in the database from which others are made; an empty line ends each. Tests
# count the rows that a query reads, and to begin at nought they need the right that is granted.
postgresql_roles() {
  cat <<ROLES
ALTER ROLE administrator PASSWORD '$(cat "$home/administrator")';

CREATE ROLE cartwright LOGIN CREATEDB NOSUPERUSER NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD '$(cat "$home/password")';

GRANT EXECUTE ON FUNCTION pg_stat_reset_single_table_counters(oid) TO cartwright;

CREATE DATABASE cartwright OWNER cartwright;

REVOKE ALL ON DATABASE postgres FROM PUBLIC;

ROLES
}

# The port takes connections, the password is right, and a statement is executed.
postgresql_answers() {
  local programs
  programs=$(postgresql_programs)
  "$programs/pg_isready" -q -t 2 -h 127.0.0.1 -p "$(port postgresql)" &&
    [ "$(postgresql_ask 'SELECT 1')" = 1 ]
}

postgresql_ask() {
  PGPASSWORD=$(cat "$state/postgresql/password") PGCONNECT_TIMEOUT=2 timeout 3 "$programs/psql" -X -q -A -t \
    -h 127.0.0.1 -p "$(port postgresql)" -U cartwright -d cartwright -c "$1" 2>/dev/null
}

# "Fast": what runs is rolled back.
postgresql_stop_signal() {
  echo INT
}

# "Immediate": as after a crash, the next start has to recover.
postgresql_crash_signal() {
  echo QUIT
}

postgresql_variable() {
  echo "DATABASE_URL=postgres://cartwright:$(cat "$state/postgresql/password")@127.0.0.1:$(port postgresql)/cartwright"
}

postgresql_secured() {
  cat <<VARIABLES
DATABASE_URL=
DB_HOST=localhost
DB_PORT=$(port postgresql)
DB_USER=cartwright
DB_PASSWORD_FILE=$state/postgresql/password
DB_NAME=cartwright
DB_SSLMODE=verify-full
DB_CA_FILE=$tls/ca.pem
VARIABLES
}
