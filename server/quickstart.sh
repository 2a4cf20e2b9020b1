#!/bin/sh
# From a bare Debian 12 to an answered request: installs what is missing, builds hadal, fetches a small
# model, serves it and asks it something.
#
# Usage: server/quickstart.sh [--once] [--port N] [--model PATH]
#   --once    stop the server again after the answer (otherwise it keeps running; Ctrl-C stops it)
set -eu
. "$(dirname "$0")/setup.sh"

once= port=8080 model=
while [ $# -gt 0 ]; do
    case $1 in
    --once) once=1 ;;
    --port) port=$2 && shift ;;
    --model) model=$2 && shift ;;
    -h | --help) sed -n '2,7s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) die "unknown option $1 (see --help)" ;;
    esac
    shift
done

# shellcheck disable=SC2086
need_packages $PACKAGES_BUILD $PACKAGES_MODEL
build_preset release hadal
[ -n "$model" ] || model=$(default_model)

hadal=$HADAL_ROOT/build/release/server/hadal
say "serving $model on port $port"
"$hadal" serve --model "$model" --port "$port" &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true' EXIT
trap 'exit 130' INT TERM

n=0
until curl -sf "http://localhost:$port/ping" >/dev/null; do
    kill -0 $server 2>/dev/null || die "the server ended before it was ready (its log is above)"
    n=$((n + 1))
    [ $n -lt 3000 ] || die "no answer from /ping within 5 minutes"
    sleep 0.1
done

body='{"messages":[{"role":"user","content":"Why is the sea salty? Answer in two sentences."}],"max_tokens":80,"temperature":0}'
say "asking it something"
answer=$(curl -s -w '\n%{http_code}' "http://localhost:$port/invocations" -H 'Content-Type: application/json' -d "$body")
status=$(printf '%s' "$answer" | tail -n 1)
printf '%s\n' "$answer" | sed '$d'
[ "$status" = 200 ] || die "/invocations answered $status"

cat <<TXT

To ask again:
  curl -s localhost:$port/invocations -d '$body'
TXT
[ -z "$once" ] || exit 0
say "still serving; Ctrl-C stops it"
wait $server
