#!/usr/bin/env bash
# openssl: the speed of its algorithms, which is only run, alone and in forked children; then what has one
# answer: digests, ciphers, a certificate authority with deterministic signatures, CMS, and a TLS server with
# its clients.
# shellcheck source=tests/preload/common.bash
. "$(dirname "$0")/common.bash"
need_program openssl openssl

export OPENSSL_CONF=/dev/null
corpus "$work/text" 2000000
require_served --by libcrypto openssl version
with_brim openssl speed -seconds 1 -bytes 1024 -evp sha256 >speeds 2>&1
with_brim openssl speed -seconds 1 -multi 2 ecdsap256 >>speeds 2>&1
grep -q '^sha256 ' speeds || fail "no speed of sha256"
grep -q 'nistp256' speeds || fail "no speed of ecdsa"

# Keys are made once, at random; what is then signed with RSA and Ed25519 has one answer.
with_brim openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out rsa.key
with_brim openssl genpkey -algorithm ED25519 -out ed.key
cat >work.sh <<'SH'
set -euo pipefail
for digest in md5 sha1 sha256 sha512 sha3-384 blake2b512 shake128; do
    openssl dgst -"$digest" "$1/text" | sed 's/.*= //'
done
for cipher in aes-128-cbc aes-256-ctr camellia-256-cbc chacha20 aria-128-cbc; do
    openssl enc -"$cipher" -pbkdf2 -iter 1000 -nosalt -pass pass:secret -in "$1/text" -out secret
    openssl dgst -sha256 <secret
    openssl enc -d -"$cipher" -pbkdf2 -iter 1000 -nosalt -pass pass:secret -in secret | cmp - "$1/text"
done
for key in rsa ed; do
    head -c 10000 "$1/text" >message
    openssl pkeyutl -sign -rawin -inkey "$1/$key.key" -in message -out "$key.signature"
    openssl pkey -in "$1/$key.key" -pubout -out "$key.public"
    openssl pkeyutl -verify -rawin -pubin -inkey "$key.public" -sigfile "$key.signature" -in message
    openssl req -x509 -new -key "$1/$key.key" -subj "/CN=$key/O=test" -set_serial 7 -days 3650 \
        -out "$1/$key.certificate"
    openssl verify -CAfile "$1/$key.certificate" "$1/$key.certificate" | sed 's/.*: //'
done
openssl cms -encrypt -aes256 -in "$1/text" -binary -out "$1/cms.message" -outform DER "$1/rsa.certificate"
openssl cms -decrypt -inform DER -in "$1/cms.message" -inkey "$1/rsa.key" -binary | cmp - "$1/text"
openssl cms -sign -binary -nodetach -noattr -signer "$1/rsa.certificate" -inkey "$1/rsa.key" -in message \
    -outform DER -out signed
openssl cms -verify -inform DER -in signed -CAfile "$1/rsa.certificate" -binary | cmp - message
rm signed
openssl asn1parse -in "$1/rsa.certificate" | sed -n '1,8p' | cut -c1-30
openssl prime -generate -bits 256 >"$1/prime"
openssl prime "$(cat "$1/prime")" | sed 's/.* is/is/'
SH
compare_output bash "$work/work.sh" "$work"

# Twenty handshakes of one server, each with a file fetched.
with_brim openssl s_server -accept 127.0.0.1:0 -key rsa.key -cert rsa.certificate -WWW -naccept 20 >server &
server=$!
background+=("$server")
until port=$(sed -n 's/^ACCEPT 127.0.0.1:\([0-9]*\).*/\1/p' server) && [[ -n $port ]]; do
    kill -0 "$server" || fail "no TLS server"
    sleep 0.05
done
for n in $(seq 20); do
    printf 'GET /text HTTP/1.0\r\n\r\n' |
        with_brim openssl s_client -connect "127.0.0.1:$port" -CAfile rsa.certificate -verify_return_error \
            -quiet -ign_eof "-tls1_$((2 + n % 2))" >"fetched.$n" 2>/dev/null || fail "handshake $n"
done
wait "$server" || fail "the TLS server did not end well"
for n in $(seq 20); do
    tail -c 2000000 "fetched.$n" | cmp -s - text || fail "what TLS client $n fetched is not the file"
done
require_on_brim openssl
