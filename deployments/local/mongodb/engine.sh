# shellcheck shell=bash disable=SC2154,SC2034
# A server of MongoDB's wire protocol on SQLite files: main.go and turns.go beside this.

mongodb_fetch() {
  with_lock mongodb mongodb_build
}

mongodb_binary() {
  cached mongodb "$here/mongodb/main.go" "$here/mongodb/turns.go" "$here/mongodb/go.mod" "$here/mongodb/go.sum" \
    "$here/mongodb/by_id.sed"
}

mongodb_build() {
  local binary new log
  binary=$(mongodb_binary)
  [ ! -e "$binary" ] || return 0
  have go || fail "mongodb is built by Go, 1.22 or newer: please install it (https://go.dev/doc/install)"
  new=$cache/mongodb.new
  log=$state/mongodb/install.log
  rm -rf "$new"
  mkdir -p "$new/server"
  cp "$here"/mongodb/{main.go,turns.go,go.mod,go.sum} "$new/server"
  mongodb_patch "$new/server" "$new/ferretdb"
  quietly "$log" env CGO_ENABLED=0 GOWORK=off \
    go build -C "$new/server" -mod=readonly -buildvcs=false -trimpath -o "$new/mongodb" .
  chmod u=rwx,go=rx "$new/mongodb"
  mv -T "$new/mongodb" "$binary"
  rm -rf "$new"
}

# mongodb_patch SERVER COPY: copies FerretDB's sources, applies by_id.sed to them, and lets the server be built with these.
mongodb_patch() {
  local server=$1 copy=$2 ferretdb=github.com/FerretDB/FerretDB source file
  quietly "$log" env GOWORK=off go mod download -C "$server" "$ferretdb"
  source=$(GOWORK=off go list -C "$server" -m -f '{{.Dir}}' "$ferretdb")
  cp -r --no-preserve=mode "$source" "$copy"
  for file in collection.go metadata/metadata.go; do
    file=internal/backends/sqlite/$file
    sed -i -f "$here/mongodb/by_id.sed" "$copy/$file"
    if cmp -s "$source/$file" "$copy/$file"; then
      fail "by_id.sed changes nothing in FerretDB's $file"
    fi
  done
  quietly "$log" env GOWORK=off go mod edit -C "$server" -replace "$ferretdb=../ferretdb"
}

mongodb_start() {
  local as_user
  as_user mongodb
  give_certificate mongodb
  choose_port "$state/mongodb/port" "${CARTWRIGHT_MONGODB_PORT:-}" 17017
  choose_port "$state/mongodb/tls-port" "${CARTWRIGHT_MONGODB_TLS_PORT:-}" 17018
  own mongodb "$state/mongodb/data"
  detach mongodb "$(mongodb_binary)" -listen "127.0.0.1:$(port mongodb)" -data "$state/mongodb/data" \
    -tls "127.0.0.1:$(cat "$state/mongodb/tls-port")" -certificate "$state/mongodb/server.pem" -key "$state/mongodb/server.key"
}

# OP_MSG with {ping: 1, $db: "admin"}; the answer has {ok: 1.0}.
mongodb_answers() {
  local header='\x33\0\0\0\x01\0\0\0\0\0\0\0\xdd\x07\0\0\0\0\0\0\0'
  # shellcheck disable=SC2016
  local document='\x1e\0\0\0\x10ping\0\x01\0\0\0\x02$db\0\x06\0\0\0admin\0\0'
  [[ "$(exchange "$(port mongodb)" "$header$document" 38)" == *016f6b00000000000000f03f* ]]
}

mongodb_stop_signal() {
  echo TERM
}

mongodb_variable() {
  echo "MONGO_URI=mongodb://127.0.0.1:$(port mongodb)/"
}

mongodb_secured() {
  echo "MONGO_URI=mongodb://localhost:$(cat "$state/mongodb/tls-port")/?tls=true&tlsCAFile=$tls/ca.pem"
}
