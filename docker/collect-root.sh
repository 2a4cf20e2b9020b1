#!/bin/sh
# Makes the root of the image from a built binary: binary, loader, the libraries it needs and theirs,
# their licences, and an SBOM (SPDX 2.3, JSON) of the Debian packages they come from. Runs in the
# builder. The libraries are followed by name, not by ldd, because the binary may be a foreign one.
#
# Usage: collect-root.sh BINARY FOLDER TRIPLE
set -eu
[ $# -eq 3 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64; }
binary=$1 root=$2 triple=$3

mkdir -p "$root/usr/bin" "$root/usr/lib" "$root/etc" "$root/opt/ml/model" "$root/usr/share/sbom"
install -d -m 1777 "$root/tmp"
ln -s usr/lib "$root/lib"
install -m 755 "$binary" "$root/usr/bin/hadal"
"$triple-strip" --strip-all "$root/usr/bin/hadal"
printf 'root:x:0:0:root:/:/nologin\nnobody:x:65534:65534:nobody:/:/nologin\n' >"$root/etc/passwd"
printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"

# The loader must be at the path that the binary names; libraries go where every loader looks.
needed() { "$triple-readelf" -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }
libs=/tmp/libs
"$triple-readelf" -l "$binary" | sed -n 's/.*program interpreter: \(.*\)\]/\1/p' >$libs
todo=$(needed "$binary")
while [ -n "$todo" ]; do
    next=''
    for name in $todo; do
        ! grep -q "/$name\$" $libs || continue
        found=''
        for dir in /mhd/lib "/lib/$triple" "/usr/lib/$triple"; do [ ! -e "$dir/$name" ] || { found=$dir/$name; break; }; done
        [ -n "$found" ] || { echo "error: $binary needs $name, which is in no package of the builder" >&2; exit 1; }
        echo "$found" >>$libs
        next="$next$(needed "$found") "
    done
    todo=$next
done
sort -u -o $libs $libs
packages=/tmp/packages
: >$packages
while read -r lib; do
    real=$(readlink -f "$lib")
    case $lib in
    */ld-linux*) at=$lib ;;
    *) at=/usr/lib/${lib##*/} ;;
    esac
    case $at in
    /lib/*) at=/usr$at ;;
    /lib64/*) mkdir -p "$root/usr/lib64"; [ -e "$root/lib64" ] || ln -s usr/lib64 "$root/lib64"; at=/usr$at ;;
    esac
    mkdir -p "$root${at%/*}"
    install -m 755 "$real" "$root$at"
    case $real in /mhd/*) continue ;; esac # in no package, see below
    { dpkg -S "$real" 2>/dev/null || dpkg -S "${real#/usr}"; } | head -n 1 | sed 's/: .*//' >>$packages
done <$libs
# Inside the binary, so not in ldd's list.
dpkg -S "/usr/lib/$triple/openblas-serial/libopenblas.a" | sed 's/: .*//' >>$packages
sort -u -o $packages $packages

# ---- SBOM --------------------------------------------------------------------------------------
# No time and no random name in it: the same packages give the same file.
created=$(date -u -d "@${SOURCE_DATE_EPOCH:-0}" +%Y-%m-%dT%H:%M:%SZ)
sum=$(sha256sum "$root/usr/bin/hadal" | cut -d' ' -f1)
sbom=$root/usr/share/sbom/hadal.spdx.json
{
    printf '{"spdxVersion":"SPDX-2.3","dataLicense":"CC0-1.0","SPDXID":"SPDXRef-DOCUMENT","name":"hadal-image",\n'
    printf '"documentNamespace":"https://spdx.org/spdxdocs/hadal-image-%s",\n' "$sum"
    printf '"creationInfo":{"created":"%s","creators":["Tool: hadal-collect-root"]},\n"packages":[\n' "$created"
    printf '{"SPDXID":"SPDXRef-hadal","name":"hadal","downloadLocation":"NOASSERTION","filesAnalyzed":false,'
    printf '"licenseDeclared":"MIT","checksums":[{"algorithm":"SHA256","checksumValue":"%s"}]}' "$sum"
    while read -r p; do
        dpkg-query -W -f '${Package} ${Version} ${Architecture} ${source:Package}\n' "$p"
    done <$packages >/tmp/listed
    # Built from Debian's source by builder.sh.
    echo "libmicrohttpd $(cat /mhd/version) source libmicrohttpd" >>/tmp/listed
    sort /tmp/listed | while read -r name version arch source; do
        printf ',\n{"SPDXID":"SPDXRef-%s","name":"%s","versionInfo":"%s",' \
            "$(printf %s "$name" | sed 's/[^A-Za-z0-9.-]/-/g')" "$name" "$version"
        printf '"downloadLocation":"NOASSERTION","filesAnalyzed":false,"sourceInfo":"Debian source %s",' "$source"
        printf '"externalRefs":[{"referenceCategory":"PACKAGE-MANAGER","referenceType":"purl",'
        printf '"referenceLocator":"pkg:deb/debian/%s@%s?arch=%s"}]}' \
            "$name" "$(printf %s "$version" | sed 's/+/%2B/g')" "$arch"
    done
    printf '\n],\n"relationships":[{"spdxElementId":"SPDXRef-DOCUMENT","relationshipType":"DESCRIBES",'
    printf '"relatedSpdxElement":"SPDXRef-hadal"}]}\n'
} >"$sbom"

# Licences of what is shipped.
while read -r p; do
    name=${p%%:*}
    if [ -f "/usr/share/doc/$name/copyright" ]; then
        install -D -m 644 "/usr/share/doc/$name/copyright" "$root/usr/share/doc/$name/copyright"
    fi
done <$packages
install -D -m 644 /mhd/copyright "$root/usr/share/doc/libmicrohttpd/copyright"
[ ! -f LICENSE ] || install -D -m 644 LICENSE "$root/usr/share/doc/hadal/copyright"

# One date on everything, so that the same input gives the same layer.
find "$root" -exec touch -h -d "@${SOURCE_DATE_EPOCH:-0}" {} +
cat $libs
du -sk "$root"
