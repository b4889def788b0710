#!/usr/bin/env bash
# Installs what the clients of clients/README.md need. Does nothing when nothing changed.
set -euo pipefail

here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
root="$(dirname "$here")"
clients="$here/clients"
tools="${CLEW_TEST_TOOLS:-$(cd "$root" && realpath -m "${CARGO_TARGET_DIR:-target}")/test-tools}"
mkdir -p "$tools"
shopt -s globstar nullglob

# One at a time: two test runs may share the folder.
exec 9>"$tools/.lock"
flock 9

need() {
    command -v "$1" >/dev/null || { echo "setup.sh: $1 is not installed; the $2 client needs it" >&2; exit 1; }
}

# Runs `install_NAME` when the client's files of the given patterns, or the tool's version, differ from those of the last
# time that it succeeded.
once() {
    local name="$1" version="$2" files="$3" stamp="$tools/$1.stamp" now
    # shellcheck disable=SC2086 # the patterns are to be expanded
    now="$(echo "$version"; cd "$clients/$name" && sha256sum $files "$here/setup.sh")"
    [[ -f "$stamp" && "$(<"$stamp")" == "$now" ]] && return
    echo "installing the $name client" >&2
    rm -rf "$stamp" "${tools:?}/$name"
    if ! "install_$name" >"$tools/$name.log" 2>&1; then
        cat "$tools/$name.log" >&2
        echo "setup.sh: cannot install the $name client" >&2
        exit 1
    fi
    echo "$now" >"$stamp"
}

install_python() {
    python3 -m venv "$tools/python" &&
        "$tools/python/bin/pip" install --quiet --disable-pip-version-check --no-deps -r "$clients/python/requirements.txt" &&
        "$tools/python/bin/pip" check
}

install_go() {
    mkdir -p "$tools/go" && cd "$clients/go" && GOFLAGS="-mod=readonly -buildvcs=false" go build -o "$tools/go/client" .
}

install_jaeger() {
    mkdir -p "$tools/jaeger" && cd "$clients/jaeger" && export GOFLAGS="-mod=readonly -buildvcs=false" &&
        go build -o "$tools/jaeger/client" . &&
        cp -r --no-preserve=mode "$(go list -m -f '{{.Dir}}' github.com/jaegertracing/jaeger-idl)/proto" "$tools/jaeger/proto"
}

install_javascript() {
    mkdir -p "$tools/javascript" && cp "$clients"/javascript/package*.json "$tools/javascript/" &&
        npm ci --prefix "$tools/javascript" --ignore-scripts --no-audit --no-fund
}

install_java() {
    mvn --batch-mode --quiet --file "$clients/java/pom.xml" -Dclew.build="$tools/java" package
}

need python3 Python
need go Go
need node JavaScript
need npm JavaScript
need java Java
need mvn Java
once python "$(python3 --version)" "requirements.txt"
once go "$(go version)" "*.go go.mod go.sum"
once jaeger "$(go version)" "*.go go.mod go.sum"
once javascript "$(node --version)" "package.json package-lock.json"
once java "$(java --version)" "pom.xml src/**/*.java"
