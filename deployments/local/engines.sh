# shellcheck shell=bash
# What up, down, env and engine share. To be sourced, under `set -euo pipefail`.
#
# An engine is a name, a file NAME/engine.sh beside this one, and a directory of its own in the state directory:
#   data   what it stores        port   where it listens, kept from one start to the next
#   log    what it said          pid    its process and when that began, while there should be one
#
# Who calls the scripts as root has every engine run as a user of its own, `cartwright-NAME`. To that user belongs what it
# has to write, `data` and the directory of its sockets, and nothing else: where root writes, nobody plants a link.

names=(postgresql redis kafka mongodb)

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# State and cache must lie where the users of the engines may enter, and the home of root is closed to everybody else.
if [ -n "${CARTWRIGHT_ENGINES_DIR:-}" ]; then
  state=$(realpath -m -- "$CARTWRIGHT_ENGINES_DIR")
elif [ "$(id -u)" -eq 0 ]; then
  state=/var/lib/cartwright-engines
else
  state=${XDG_STATE_HOME:-${HOME:?}/.local/state}/cartwright-engines
fi

# What is downloaded and built, for all state directories of a user.
if [ -n "${CARTWRIGHT_ENGINES_CACHE:-}" ]; then
  cache=$(realpath -m -- "$CARTWRIGHT_ENGINES_CACHE")
elif [ "$(id -u)" -eq 0 ]; then
  cache=/var/cache/cartwright-engines
else
  cache=${XDG_CACHE_HOME:-${HOME:?}/.cache}/cartwright-engines
fi

# How long an engine has to answer, and to end when it is told to.
patience=120

# Whether an engine may leave the port it had, when somebody else is on it. Who restarts one engine keeps its address.
may_move=yes

for name in "${names[@]}"; do
  # shellcheck source=/dev/null
  . "$here/$name/engine.sh"
done
unset name
# shellcheck source=tls.sh
. "$here/tls.sh"

fail() {
  echo "engines: $*" >&2
  exit 1
}

have() {
  command -v "$1" >/dev/null 2>&1
}

# The engines named on the command line, or all of them.
set_engines() {
  engines=("$@")
  [ $# -gt 0 ] || engines=("${names[@]}")
  local engine
  for engine in "${engines[@]}"; do
    [[ " ${names[*]} " == *" $engine "* ]] || fail "there is no engine '$engine'; there are: ${names[*]}"
  done
}

# One command at a time works on a state directory. Engines must not inherit the descriptor, or they would hold the lock.
lock_state() {
  local directory
  for directory in "$state" "$cache"; do
    mkdir -p "$directory"
    [ -O "$directory" ] || elsewhere "$directory belongs to somebody else"
    chmod u=rwx,go=rx "$directory"
    in_safety "$directory"
  done
  exec 9>"$state/lock"
  flock -w 1200 9 || fail "another command has held $state/lock for twenty minutes"
}

elsewhere() {
  fail "$1: set CARTWRIGHT_ENGINES_DIR and CARTWRIGHT_ENGINES_CACHE to directories elsewhere"
}

# Fails where somebody else could put another directory, or a link, in the place of this one.
in_safety() {
  local directory=$1 others=022 owner mode
  # Of an ordinary user's group there is often nobody else.
  [ "$(id -u)" -eq 0 ] || others=002
  until [ "$directory" = / ]; do
    directory=$(dirname "$directory")
    owner=$(stat -c %u "$directory")
    mode=$((0$(stat -c %a "$directory")))
    [ "$owner" -eq 0 ] || [ -O "$directory" ] || elsewhere "$directory belongs to somebody else"
    # In a sticky directory, as /tmp is one, only the owner of what is there may move it.
    [ $((mode & others)) -eq 0 ] || [ $((mode & 01000)) -ne 0 ] || elsewhere "others may write to $directory"
  done
}

# as_user ENGINE: sets the command in front of all that an engine runs or writes, so that its user does it: nothing, but as root.
as_user() {
  as_user=()
  [ "$(id -u)" -eq 0 ] || return 0
  with_lock users make_user "cartwright-$1"
  as_user=(setpriv "--reuid=cartwright-$1" "--regid=cartwright-$1" --clear-groups --no-new-privs --reset-env)
}

make_user() {
  id "$1" >/dev/null 2>&1 || useradd --system --user-group --no-create-home --home-dir / --shell /usr/sbin/nologin "$1"
}

# own ENGINE DIRECTORY: makes a directory of the engine's user. What is there and belongs to the caller becomes theirs, too.
own() {
  local user=''
  mkdir -p "$2"
  chmod 700 "$2"
  if [ "$(id -u)" -eq 0 ] && [ -O "$2" ]; then
    user=cartwright-$1
    chown -R -P --no-dereference "$user:$user" "$2"
  fi
}

# show ENGINE FILE: takes a file from standard input that the engine's user may read, and nobody but us may write.
show() {
  local engine=$1 file=$2
  rm -f "$file"
  (umask 077 && cat >"$file")
  [ "$(id -u)" -ne 0 ] || chgrp "cartwright-$engine" "$file"
  chmod u=rw,g=r,o= "$file"
}

# secret FILE: makes a file with 32 random digits that only we may read, if it is not there.
secret() {
  [ -s "$1" ] || (umask 077 && head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$1")
}

# with_lock NAME COMMAND…: one at a time among all state directories.
with_lock() {
  (
    exec 8>"$cache/$1.lock"
    flock -w 1200 8 || fail "another command has held $cache/$1.lock for twenty minutes"
    shift
    "$@"
  )
}

# quietly LOG COMMAND…: what it says goes to the file, and its end to the terminal if it fails. It has a quarter of an hour.
quietly() {
  local log=$1
  shift
  timeout 900 "$@" </dev/null >"$log" 2>&1 8>&- 9>&- || {
    tail -n 15 "$log" >&2
    fail "failed: $* (all it said: $log)"
  }
}

# install_packages ENGINE PACKAGE…: with apt as root, otherwise it says what is missing.
install_packages() {
  local engine=$1
  shift
  if [ "$(id -u)" -ne 0 ] || ! have apt-get; then
    fail "$engine needs what these packages have: $*; please install them"
  fi
  with_lock apt apt_install "$state/$engine/install.log" "$@"
}

apt_install() {
  local log=$1
  shift
  export DEBIAN_FRONTEND=noninteractive
  local install=(apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=300 "$@")
  # Without its lists, or with old ones, apt knows no such package.
  "${install[@]}" </dev/null >"$log" 2>&1 8>&- 9>&- || {
    quietly "$log" apt-get update -q
    quietly "$log" "${install[@]}"
  }
}

# cached NAME FILE…: the place in the cache for what is made from these files.
cached() {
  local name=$1 sum
  shift
  sum=$(cat "$@" | sha256sum)
  echo "$cache/$name-${sum:0:16}"
}

port() {
  cat "$state/$1/port"
}

# Whether nobody listens there.
is_free() {
  ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# choose_port FILE WISH DEFAULT: keeps in the file where to listen: as wished, or where it was, or the default, or anywhere.
# All are below the range from which Linux takes the ports of outgoing connections, so that none of those sits on them.
choose_port() {
  local file=$1 wish=$2 default=$3 port
  if [ -n "$wish" ]; then
    is_free "$wish" || fail "port $wish, which was asked for, is taken"
    echo "$wish" >"$file"
    return
  fi
  if [ -s "$file" ]; then
    port=$(cat "$file")
    ! is_free "$port" || return 0
    [ "$may_move" = yes ] || fail "port $port, where it listened, is taken by somebody else"
  fi
  port=$default
  # A set of one's own stays away from the ports on which others look for the first.
  [ -z "${CARTWRIGHT_ENGINES_DIR:-}" ] || port=$((10000 + RANDOM % 20000))
  until is_free "$port"; do
    port=$((10000 + RANDOM % 20000))
  done
  echo "$port" >"$file"
}

# exchange PORT REQUEST COUNT: sends the bytes, given as for printf, and prints the first so many of the answer in hex.
exchange() {
  (
    exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
    # shellcheck disable=SC2059
    printf "$2" >&3
    timeout 2 head -c "$3" <&3 | od -An -v -tx1 | tr -d ' \n'
  ) 2>/dev/null
}

# The rest of the line of /proc/PID/stat behind the name of the program: state, parent, …
proc_stat() {
  local line
  { line=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  echo "${line##*) }"
}

# When a process began: the boot, and ticks since then. No later process with the same id shares it.
began() {
  local fields
  read -ra fields <<<"$(proc_stat "$1")"
  [ ${#fields[@]} -gt 19 ] && [ "${fields[0]}" != Z ] && [ "${fields[0]}" != X ] || return 1
  echo "$(cat /proc/sys/kernel/random/boot_id)/${fields[19]}"
}

# The engine's process, if it is there and is the one that was started here.
process() {
  local pid since
  { read -r pid since <"$state/$1/pid"; } 2>/dev/null || return 1
  [ "$(began "$pid")" = "$since" ] || return 1
  echo "$pid"
}

# Whether it was started before the machine was.
is_of_another_boot() {
  local pid since
  { read -r pid since <"$state/$1/pid"; } 2>/dev/null || return 1
  [ "${since%/*}" != "$(cat /proc/sys/kernel/random/boot_id)" ]
}

# detach ENGINE COMMAND…: starts it as its user so that it outlives this script and its terminal, and writes down which
# process it is.
detach() {
  local engine=$1 home=$state/$1 pid since as_user
  shift
  as_user "$engine"
  [ ! -e "$home/log" ] || mv -f "$home/log" "$home/log.before"
  (umask 077 && : >"$home/log")
  (cd "$home" && exec setsid "${as_user[@]}" "$@" </dev/null >>log 2>&1 8>&- 9>&-) &
  pid=$!
  since=$(began "$pid") || complain "$engine" "ended at once"
  echo "$pid $since" >"$home/pid"
}

# Fails with the end of what the engine said.
complain() {
  local log=$state/$1/log
  tail -n 15 "$log" >&2 || true
  fail "$1 $2 (all it said: $log)"
}

# Until the engine answers, within bounds.
await_answer() {
  local engine=$1 end=$((SECONDS + patience))
  until "${engine}_answers"; do
    process "$engine" >/dev/null || complain "$engine" 'ended before it answered'
    [ "$SECONDS" -lt "$end" ] || complain "$engine" "did not answer within $patience s"
    sleep 0.1
  done
}

# Whatever its state, afterwards it answers. What it stores and where it listens stay.
start_engine() {
  local engine=$1 home=$state/$1
  if process "$engine" >/dev/null; then
    resume_engine "$engine"
  else
    mkdir -p "$home"
    [ -O "$home" ] || of_an_earlier_version "$engine"
    chmod u=rwx,go=rx "$home"
    "${engine}_fetch"
    "${engine}_start"
    describe_secured "$engine"
  fi
  await_answer "$engine"
}

# What was made when engines had more rights than they need cannot be made safe by taking them away.
of_an_earlier_version() {
  fail "$state/$1 was made by an earlier version, which gave it more rights than it needs; $here/down --delete removes it"
}

# Starts the engines side by side. They go on by themselves if this is interrupted, so that none is left unrecorded.
start_engines() {
  local engine pid failed=0 pids=()
  for engine in "$@"; do
    (start_engine "$engine") &
    pids+=($!)
  done
  for pid in "${pids[@]}"; do
    wait "$pid" || failed=1
  done
  return "$failed"
}

# The processes whose parent is this one.
children() {
  local stat pid fields
  for stat in /proc/[0-9]*/stat; do
    pid=${stat#/proc/}
    pid=${pid%/stat}
    read -ra fields <<<"$(proc_stat "$pid")"
    [ "${fields[1]:-}" != "$1" ] || echo "$pid"
  done
}

is_halted() {
  local fields
  read -ra fields <<<"$(proc_stat "$1")"
  [ "${fields[0]:-T}" = T ]
}

# Stops the process, waits until it has stopped and so has its last child, then stops its children.
pause_engine() {
  local pid child
  pid=$(process "$1") || fail "$1 does not run"
  kill -STOP "$pid"
  until is_halted "$pid"; do
    sleep 0.01
  done
  for child in $(children "$pid"); do
    kill -STOP "$child" 2>/dev/null || true
  done
}

resume_engine() {
  local pid child
  pid=$(process "$1") || fail "$1 does not run"
  is_halted "$pid" || return 0
  for child in $(children "$pid"); do
    kill -CONT "$child" 2>/dev/null || true
  done
  kill -CONT "$pid" 2>/dev/null || true
}

# As if the machine had taken it away, with all its children, so that nothing of it is left when this returns.
kill_engine() {
  local pid child all
  pid=$(process "$1") || return 0
  pause_engine "$1"
  all=$(children "$pid")
  for child in $all $pid; do
    kill -KILL "$child" 2>/dev/null || true
  done
  for child in $all $pid; do
    while began "$child" >/dev/null; do
      sleep 0.01
    done
  done
  rm -f "$state/$1/pid"
  ! declare -F "$1_was_killed" >/dev/null || "$1_was_killed"
}

# stop_engine ENGINE [SIGNAL]: tells it to end; one that does not is killed.
stop_engine() {
  local engine=$1 signal=${2:-} end=$((SECONDS + patience)) pid
  pid=$(process "$engine") || return 0
  resume_engine "$engine"
  [ -n "$signal" ] || signal=$("${engine}_stop_signal")
  kill -s "$signal" "$pid"
  while process "$engine" >/dev/null; do
    if [ "$SECONDS" -ge "$end" ]; then
      echo "engines: $engine did not end within $patience s of $signal and is killed" >&2
      kill_engine "$engine"
      return
    fi
    sleep 0.05
  done
  rm -f "$state/$engine/pid"
}

# How the addresses get into the shell from which a script was called with these arguments.
how_to_use() {
  local directory=''
  [ -z "${CARTWRIGHT_ENGINES_DIR:-}" ] || directory="CARTWRIGHT_ENGINES_DIR='$state' "
  echo "eval \"\$($directory$here/env${*:+ $*})\""
}

# Their addresses, for `eval`.
print_variables() {
  local engine
  for engine in "$@"; do
    echo "export $("${engine}_variable")"
  done
  [ ! -d "$tls" ] || echo "export CARTWRIGHT_TEST_TLS_DIR=$tls"
}
