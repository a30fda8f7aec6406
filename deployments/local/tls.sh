# shellcheck shell=bash disable=SC2154
# The second way in to each engine: by TLS, and with a login where the engine knows logins.
#
# All is in one directory, `tls`, which only who calls the scripts may read: ca.pem vouches for server.pem, whose name is
# `localhost`; other-ca.pem vouches for nobody; ENGINE.env has the settings of a shop that goes in there, NAME=value.

tls=$state/tls

# make_certificates ENGINE: once for a state directory, whichever engine comes first.
make_certificates() {
  local new=$tls.new
  [ ! -e "$tls" ] || return 0
  have openssl || install_packages "$1" openssl
  rm -rf "$new"
  (umask 077 && mkdir "$new")
  cat >"$new/openssl.cnf" <<'CONFIGURATION'
[req]
distinguished_name = name
prompt = no
[name]
CN = localhost
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost
CONFIGURATION
  (
    umask 077
    cd "$new" || exit 1
    log=$state/$1/install.log
    key=(-config openssl.cnf -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -sha256)
    for authority in ca other-ca; do
      quietly "$log" openssl req -x509 "${key[@]}" -extensions authority -days 3650 \
        -subj "/CN=local engines, $authority" -keyout "$authority.key" -out "$authority.pem"
    done
    quietly "$log" openssl req "${key[@]}" -keyout server.key -out server.csr
    quietly "$log" openssl x509 -req -sha256 -days 3650 -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
      -extfile openssl.cnf -extensions server -out server.pem
    rm other-ca.key ca.key server.csr openssl.cnf ca.srl
  )
  mv -T "$new" "$tls"
}

# give_certificate ENGINE: the certificate and its key, for the engine's user to read.
give_certificate() {
  local home=$state/$1
  with_lock tls make_certificates "$1"
  show "$1" "$home/server.pem" <"$tls/server.pem"
  show "$1" "$home/server.key" <"$tls/server.key"
  # Of a key that is the server's own PostgreSQL wants that no group may read it.
  [ "$(id -u)" -eq 0 ] || chmod 600 "$home/server.key"
}

# Writes down how a shop gets in there.
describe_secured() {
  (umask 077 && "$1_secured" >"$tls/$1.env")
}
