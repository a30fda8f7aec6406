# shellcheck shell=bash disable=SC2154
# PostgreSQL, a cluster of its own. The server refuses to run as root: there it runs as the user `postgres`.

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

# The command in front of everything that works on the cluster, so that its owner does it: nothing, but as root.
postgresql_as_owner() {
  as_owner=()
  [ "$(id -u)" -eq 0 ] || return 0
  id postgres >/dev/null 2>&1 || useradd --system --no-create-home --shell /usr/sbin/nologin postgres
  as_owner=(setpriv --reuid=postgres --regid=postgres --init-groups)
}

postgresql_start() {
  local home=$state/postgresql programs as_owner
  programs=$(postgresql_programs)
  postgresql_as_owner
  [ ${#as_owner[@]} -eq 0 ] || chown postgres "$home"
  chmod 700 "$home"
  (cd / && "${as_owner[@]}" test -x "$home") ||
    fail "the user postgres may not enter $home: set CARTWRIGHT_ENGINES_DIR to a directory whose parents are open to it"
  [ -d "$home/data" ] || postgresql_create
  ! is_of_another_boot postgresql || postgresql_was_killed
  postgresql_await_burial
  choose_port "$home/port" "${CARTWRIGHT_POSTGRESQL_PORT:-}" 15432
  detach postgresql "${as_owner[@]}" "$programs/postgres" -D "$home/data" -c listen_addresses=127.0.0.1 \
    -c "port=$(port postgresql)" -c "unix_socket_directories=$home" -c max_connections=500
}

# Takes away the locks of a server of which no process is left. By their numbers the next one might take others for it.
postgresql_was_killed() {
  rm -f "$state/postgresql/data/postmaster.pid" "$state/postgresql/".s.PGSQL.*
}

# The server takes the process of a predecessor for alive until init has taken it away.
postgresql_await_burial() {
  local pid end=$((SECONDS + 10))
  { read -r pid <"$state/postgresql/data/postmaster.pid"; } 2>/dev/null || return 0
  while [ -e "/proc/$pid" ] && ! began "$pid" >/dev/null && [ "$SECONDS" -lt "$end" ]; do
    sleep 0.05
  done
}

# Makes the cluster beside its place and moves it there when it is complete. Its superuser is `cartwright`, with a password.
postgresql_create() {
  local new=$home/new
  rm -rf "$new"
  (umask 077 && head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$home/password")
  # Only root may read its own file; the owner of the cluster needs the password once.
  (umask 077 && cp "$home/password" "$home/new.password")
  [ ${#as_owner[@]} -eq 0 ] || chown postgres "$home/new.password"
  (
    cd "$home" || exit 1
    quietly "$home/install.log" "${as_owner[@]}" "$programs/initdb" -D "$new" -U cartwright --pwfile="$home/new.password" \
      --auth=scram-sha-256 --encoding=UTF8 --locale=C
    echo 'CREATE DATABASE cartwright' |
      "${as_owner[@]}" "$programs/postgres" --single -j -D "$new" postgres >>"$home/install.log" 2>&1 ||
      fail "the database could not be made (see $home/install.log)"
  )
  rm -f "$home/new.password"
  mv -T "$new" "$home/data"
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
