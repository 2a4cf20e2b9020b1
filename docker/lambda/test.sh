#!/bin/sh
# The front door on this machine: client, handler, gateway, hadal. Exit 77 where something is missing.
#
# Usage: docker/lambda/test.sh HADAL      with HD_TEST_MODEL=FILE.gguf; HD_TEST_PYTHON: an interpreter with
#                                         botocore, whose signatures ours are compared with
set -eu
[ $# -eq 1 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 64; }
hadal=$(readlink -f "$1")
cd "$(dirname "$0")"
skip() { echo "skipped: $*"; exit 77; }
bad() { echo "FAILED: $*" >&2; exit 1; }
command -v node >/dev/null || skip "node is not installed"
[ -f "${HD_TEST_MODEL:-}" ] || skip "HD_TEST_MODEL names no model file"
python=${HD_TEST_PYTHON:-python3}

work=$(mktemp -d /tmp/hadal-front.XXXXXX)
pids=''
finish() {
    # shellcheck disable=SC2086
    [ -z "$pids" ] || kill $pids 2>/dev/null || true
    wait
    rm -rf "$work"
}
trap finish EXIT

if $python -c 'import botocore' 2>/dev/null; then
    cat >"$work/sign.mjs" <<J
import { sign } from "$PWD/sagemaker.mjs";
const keys = { accessKeyId: "AKID", secretAccessKey: "se/cret", sessionToken: "tok+en", region: "eu-west-1" };
const url = new URL("https://runtime.sagemaker.eu-west-1.amazonaws.com/endpoints/a-b/invocations");
console.log(sign(url, Buffer.from("{}"), keys, new Date("2026-11-01T12:34:56.789Z")).authorization);
J
    cat >"$work/sign.py" <<'P'
import datetime
from unittest import mock
from botocore import auth, awsrequest, credentials
r = awsrequest.AWSRequest("POST", "https://runtime.sagemaker.eu-west-1.amazonaws.com/endpoints/a-b/invocations",
                          data=b"{}", headers={"Content-Type": "application/json"})
when = datetime.datetime(2026, 11, 1, 12, 34, 56, tzinfo=datetime.timezone.utc)
with mock.patch("botocore.auth.get_current_datetime", return_value=when):
    auth.SigV4Auth(credentials.Credentials("AKID", "se/cret", "tok+en"), "sagemaker", "eu-west-1").add_auth(r)
print(r.headers["Authorization"])
P
    node "$work/sign.mjs" >"$work/ours"
    $python "$work/sign.py" >"$work/theirs"
    cmp "$work/ours" "$work/theirs" || { cat "$work/ours" "$work/theirs"; bad "signatures differ"; }
    echo "ok  the signature is botocore's"
else
    echo "skipped: $python has no botocore to compare signatures with"
fi

ports=$(python3 -c '
import socket
s = [socket.socket() for _ in range(3)]
[x.bind(("127.0.0.1", 0)) for x in s]
print(*[x.getsockname()[1] for x in s])')
read -r model gateway door <<P
$ports
P
"$hadal" serve --model "$HD_TEST_MODEL" --port "$model" --max-context 2048 >"$work/hadal.log" 2>&1 &
server=$!
pids=$server
python3 ../../tests/contract/gateway.py --container "127.0.0.1:$model" --port "$gateway" --parts random >"$work/gateway.log" 2>&1 &
pids="$pids $!"
ENDPOINT=any AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=http://127.0.0.1:$gateway AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=x \
    AWS_SECRET_ACCESS_KEY=x node local.mjs "$door" >"$work/door.log" 2>&1 &
pids="$pids $!"
for url in "http://127.0.0.1:$model/ping" "http://127.0.0.1:$gateway/" "http://127.0.0.1:$door/"; do
    n=0
    until case $(curl -s -o /dev/null -w '%{http_code}' "$url") in 000 | 503) false ;; esac; do
        n=$((n + 1))
        [ $n -lt 600 ] || { cat "$work"/*.log; bad "$url does not answer"; }
        sleep 0.1
    done
done

front=http://127.0.0.1:$door/
plain() { sed 's/"id":"[^"]*"/"id":""/g; s/"created":[0-9]*/"created":0/g'; }
answer_of() {
    curl -sN -w '\n%{http_code} %{content_type}\n' -H 'Content-Type: application/json' -d "$2" "$1" | plain
}
# same BODY: status, type and answer of the front door are those of the model.
same() {
    answer_of "http://127.0.0.1:$model/invocations" "$1" >"$work/direct"
    answer_of "$front" "$1" >"$work/front"
    cmp "$work/direct" "$work/front" || { cat "$work/direct" "$work/front" "$work/door.log"; bad "$1: not the model's own answer"; }
    echo "ok  $(tail -n 1 "$work/front")  $1"
}
same '{"inputs":"The capital of France is","parameters":{"max_new_tokens":8}}'
same '{"inputs":"The capital of France is","parameters":{"max_new_tokens":8},"stream":true}'
same '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":12,"temperature":0}'
same '{"messages":[{"role":"user","content":"Hi"}],"max_tokens":12,"temperature":0,"stream":true}'
same '{"prompt":7}'
same '{"prompt":7,"stream":true}'
same '{'
code=$(curl -s -o /dev/null -w '%{http_code}' "$front")
[ "$code" = 405 ] || bad "GET answered $code, expected 405"

# Streaming is streaming: the first bytes come long before the last, and a caller that leaves stops the work.
long='{"prompt":"Once upon a time","max_tokens":1500,"ignore_eos":true,"temperature":0,"stream":true}'
curl -sN -m 1 -d "$long" "$front" >"$work/first" || true
first=$(wc -c <"$work/first")
[ "$first" -gt 1000 ] || bad "$first bytes in the first second of a long stream"
grep -q 'DONE' "$work/first" && bad "the long stream was over in a second"
n=0
until curl -s "http://127.0.0.1:$model/metrics" | grep -q '^hadal_requests_running{.*} 0'; do
    n=$((n + 1))
    [ $n -lt 50 ] || { curl -s "http://127.0.0.1:$model/metrics" | grep -i running; bad "the model still works 5 s after the caller left"; }
    sleep 0.1
done
echo "ok  $first bytes in the first second; the model stopped $((n * 100)) ms after the caller left"


# Without the model: the service's own error, as JSON.
kill "$server"
wait "$server" || bad "hadal ended with $?"
code=$(curl -s -o "$work/down" -w '%{http_code}' -d '{"prompt":"x"}' "$front")
[ "$code" = 503 ] || bad "without the model: $code, expected 503"
python3 -c 'import json, sys; assert json.load(open(sys.argv[1]))["error"]["type"] == "ServiceUnavailable"' "$work/down" || bad "$(cat "$work/down")"
echo "ok  503 without the model"
