#!/bin/sh
# Checks a model with `hadal inspect` and packs it for an endpoint.
#
# Usage: docker/pack-model.sh [--prefix] MODEL OUT
#   MODEL     folder in Hugging Face layout, or a .gguf file
#   OUT       model.tar.gz to write; with --prefix a folder to write, for `aws s3 sync OUT s3://...`
#   HADAL     the binary (default: hadal);  GB_PER_S  read speed assumed for the load time (default 1)
# Weights hardly compress, so the archive is written at the fastest level; prefer --prefix for large ones.
set -eu
prefix=
[ "${1:-}" != --prefix ] || { prefix=1; shift; }
[ $# -eq 2 ] || { sed -n '2,8s/^# \{0,1\}//p' "$0" >&2; exit 64; }
model=$1 out=$2
[ -e "$model" ] || { echo "error: $model: no such file or folder" >&2; exit 1; }
[ ! -e "$out" ] || { echo "error: $out exists" >&2; exit 1; }
"${HADAL:-hadal}" inspect --model "$model" || { echo "error: $model: not a model that hadal loads" >&2; exit 1; }

if [ -d "$model" ]; then folder=$model names=.
else folder=$(dirname "$model") names=$(basename "$model"); fi
if [ -n "$prefix" ]; then
    mkdir -p "$out"
    cp -rL "$folder/$names" "$out/"
else
    tar -C "$folder" -chf - "$names" | gzip -1 >"$out.part"
    mv "$out.part" "$out"
fi
raw=$(du -skL "$model" | cut -f1)
size=$(du -sk "$out" | cut -f1)
awk -v raw="$raw" -v size="$size" -v speed="${GB_PER_S:-1}" 'BEGIN {
    printf "files %.1f MB, packed %.1f MB; loading them takes about %.1f s at %s GB/s\n",
        raw / 1024, size / 1024, raw / 1048576 / speed, speed }'
