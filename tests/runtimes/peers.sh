# The programs of others that Debian lacks, or has in an older version. `run` sources this file. Each program is built
# once for each version and kept in `$peers`; a stamp beside it says that it is complete.

crictl=v1.37.0
grpcurl=v1.9.4
buf=v1.75.0
nerdctl=v2.2.1
oci_cli=3.95.1

# Prints the path of a program's stamp.
peer_stamp() {
    case $1 in
    containerd-*) printf '%s\n' "$peers/$1/.containerd-v${1#containerd-}" ;;
    # critest is a part of crictl's module.
    critest) printf '%s\n' "$peers/bin/.critest-$crictl" ;;
    crictl | grpcurl | buf | nerdctl) printf '%s\n' "$peers/bin/.$1-${!1}" ;;
    oci-cli) printf '%s\n' "$peers/oci-cli-$oci_cli/.complete" ;;
    *) fail "there is no rule to build $1" ;;
    esac
}

# Prints those of the programs that Go must build and that are not built yet.
unbuilt_go_programs() {
    local program
    for program in "$@"; do
        if [[ $program != oci-cli && ! -e $(peer_stamp "$program") ]]; then printf '%s\n' "$program"; fi
    done
}

# Builds a program, unless it is built already. `$logs` is a directory for logs and sources.
build_peer() {
    local stamp
    stamp=$(peer_stamp "$1")
    if [[ $1 == oci-cli ]]; then
        install_oci_cli "$stamp"
        return
    fi
    if [[ -e $stamp ]]; then return; fi
    echo "building $1 ${stamp##*-}"
    mkdir -p "$peers/bin"
    case $1 in
    containerd-*)
        go_install "$peers/$1" "v${1#containerd-}" \
            github.com/containerd/containerd/v2/cmd/{containerd,ctr,containerd-shim-runc-v2}
        ;;
    crictl) go_install "$peers/bin" "$crictl" sigs.k8s.io/cri-tools/cmd/crictl ;;
    grpcurl) go_install "$peers/bin" "$grpcurl" github.com/fullstorydev/grpcurl/cmd/grpcurl ;;
    buf) go_install "$peers/bin" "$buf" github.com/bufbuild/buf/cmd/buf ;;
    critest) build_critest ;;
    nerdctl) build_nerdctl ;;
    esac
    touch "$stamp"
}

# go_install DIRECTORY VERSION PACKAGE...
go_install() {
    local package
    for package in "${@:3}"; do
        GOBIN=$1 GOFLAGS=-buildvcs=false CGO_ENABLED=0 go install "$package@$2" 2>"$logs/go.log" ||
            { cat "$logs/go.log" >&2; fail "go install $package@$2"; }
    done
}

# critest is a test binary, which `go install` does not build.
build_critest() {
    local module=$logs/critest
    mkdir "$module"
    printf 'module critest\n\ngo 1.24\n' >"$module/go.mod"
    (
        cd "$module"
        export GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0
        go get "sigs.k8s.io/cri-tools/cmd/critest@$crictl"
        go test -c -o "$peers/bin/critest" sigs.k8s.io/cri-tools/cmd/critest
    ) >"$logs/go.log" 2>&1 || { cat "$logs/go.log" >&2; fail "building critest $crictl"; }
}

# nerdctl requires an unpublished module of its own, for its tests, and one file in its program's folder imports that
# module for tests alone. Without that file, and with an empty module in the other's place, `go build` accepts it.
build_nerdctl() {
    local module=$logs/nerdctl
    (
        # From a module without requirements, `go mod download` looks nerdctl up by its version alone.
        mkdir "$module-download"
        cd "$module-download"
        printf 'module download\n\ngo 1.24\n' >go.mod
        source=$(go mod download -json "github.com/containerd/nerdctl/v2@$nerdctl" |
            /usr/bin/python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')
        cp -r "$source" "$module"
        chmod -R u+w "$module"
        cd "$module"
        rm cmd/nerdctl/helpers/testing*.go
        mkdir -p mod/tigron
        printf 'module github.com/containerd/nerdctl/mod/tigron\n' >mod/tigron/go.mod
        GOFLAGS="-mod=mod -buildvcs=false" CGO_ENABLED=0 go build -o "$peers/bin/nerdctl" ./cmd/nerdctl
    ) >"$logs/go.log" 2>&1 || { cat "$logs/go.log" >&2; fail "building nerdctl $nerdctl"; }
}

install_oci_cli() {
    local stamp=$1 venv=${1%/*}
    # After an upgrade of the machine's Python the environment may not run any more.
    if [[ ! -e $stamp ]] || ! "$venv/bin/oci" --version >/dev/null 2>&1; then
        echo "installing oci-cli $oci_cli"
        rm -rf "$venv"
        /usr/bin/python3 -m venv "$venv" >"$logs/pip.log" 2>&1 &&
            "$venv/bin/pip" install --quiet "oci-cli==$oci_cli" >>"$logs/pip.log" 2>&1 ||
            { cat "$logs/pip.log" >&2; fail "pip install oci-cli==$oci_cli"; }
        touch "$stamp"
    fi
    ln -sfn "oci-cli-$oci_cli" "$peers/oci-cli"
}
