#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Prepare this checkout: Debian packages, then .venv with vof in it (editable).
#
#   tools/setup.sh install  the Debian packages that `make install` needs; no .venv
#   tools/setup.sh demo     what `make demo` needs (no QEMU, no kernel)
#   tools/setup.sh check    what `make check` needs on top of that
#   tools/setup.sh bench    what `make bench` needs on top of the demo
#   tools/setup.sh native-check   what `make sanitize` and `make fuzz` need on top of the first
#
# Silent when there is nothing to do. What apt and pip say goes to build/setup.log.

set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")/.."

demo_packages=(
    # the gateway: nbdkit embeds this Python, libnbd reads and writes what it serves
    python3 python3-venv
    nbdkit nbdkit-plugin-python nbdkit-plugin-dev libnbd-bin python3-libnbd
    # a file system on the remote disk; fusermount3 for nbdfuse and vof-mount
    e2fsprogs fuse3
    # pyfuse3 is compiled where it is installed
    libfuse3-dev pkg-config gcc python3-dev
    # what the demo compares encryption and signatures with
    openssl
)
check_packages=(
    # other people's NBD readers and writers, and the load generator
    fio qemu-utils nbd-client
    # file systems and block tools used against /dev/nbd0
    xfsprogs util-linux
    # the guest: emulator, Debian's own kernel, and what virtme-ng boots it with
    qemu-system-x86 linux-image-amd64 busybox-static file kmod udev iproute2
    # the machine with systemd, and the Debian that `make soak` makes for it
    systemd cpio mmdebstrap
    # RDMA bindings; man page linter
    python3-pyverbs mandoc
    # the completion of vofctl, tried in it
    zsh
    # the examples of vof-crypto(7); rngd, which feeds the guest's kernel from a mount
    xxd rng-tools-debian
    # the Wireshark dissector's tests; Debian's question whether users may capture stays at no
    tshark
)

bench_packages=(
    # load generators and what vof is measured beside; taskset
    fio qemu-utils util-linux
    # iSCSI in user space: a target and the load for it (where there is a systemd, installing tgt
    # starts a tgtd of its own, which `make bench` does not use)
    tgt libiscsi-bin
)
# What `make fuzz` and `make sanitize` need beside the compiler: libFuzzer comes with clang.
native_check_packages=(clang-14 libclang-rt-14-dev)

log=build/setup.log
python=/usr/bin/python3

# fail TEXT [COMMAND]: one paragraph to the user, and what to run next if there is such a thing;
# before that the end of the log, if there is one.
fail() {
    if [[ -s $log ]]; then
        echo "--- end of $log" >&2
        tail -n 15 "$log" | cut -c1-160 >&2
        echo "---" >&2
    fi
    printf 'setup: %s\n' "$1" | fold -s -w 79 >&2
    if [[ -n ${2:-} ]]; then
        printf '\n    %s\n\n' "$2" >&2
    fi
    exit 1
}

usage() {
    echo "usage: tools/setup.sh install|demo|check|bench|native-check" >&2
    exit 2
}

# missing_of NAME...: those of the packages that are not installed, one a line.
missing_of() {
    local installed
    # dpkg-query exits non-zero when it knows nothing of one of the names: that is an answer too.
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null || true)
    comm -23 <(printf '%s\n' "$@" | sort) <(sed -n 's/^installed //p' <<<"$installed" | sort)
}

install_packages() {
    local missing=() unknown=() name
    mapfile -t missing < <(missing_of "$@")
    ((${#missing[@]})) || return 0

    if ! command -v apt-get >/dev/null; then
        fail "apt-get was not found. This script can install packages on Debian 12 and its \
relatives only; elsewhere install the equivalents of these by hand: ${missing[*]}."
    fi
    if ((EUID != 0)); then
        fail "${#missing[@]} Debian packages are missing, and installing them needs root. Run \
this, then try again:" "sudo apt-get install --no-install-recommends ${missing[*]}"
    fi

    echo "setup: installing ${#missing[@]} Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # Where no kernel was installed nothing boots from /boot (a container): virtme-ng makes its
    # own small initramfs, so spare the minute and the space that Debian's would take.
    compgen -G '/boot/vmlinuz-*' >/dev/null || export INITRD=No

    # An update that half fails may still have brought what we need: judge by the candidates.
    apt-get -q update >>"$log" 2>&1 || true
    for name in "${missing[@]}"; do
        apt-cache show --no-all-versions "$name" >/dev/null 2>&1 || unknown+=("$name")
    done
    if ((${#unknown[@]})); then
        fail "apt does not offer: ${unknown[*]}. Either its package lists could not be fetched \
(is the network up, do the sources in /etc/apt answer?), or this release does not have them: \
vof is developed on Debian 12."
    fi
    if ! apt-get -q -y --no-install-recommends install "${missing[@]}" >>"$log" 2>&1; then
        mapfile -t missing < <(missing_of "${missing[@]}")
        fail "apt-get could not install ${missing[*]:-everything} (its own words are above). \
If it could not fetch something, check the network and try again."
    fi
}

# build_native: compile what the installation did not, or a change since then has made old.
build_native() {
    local stamp=.venv/.vof-native-stamp want
    want=$(find gateway/native gateway/vof \
        \( -name '*.[ch]' -o -name '*.pyx' -o -name '*.px[di]' \) \
        ! -path 'gateway/vof/*.c' -print0 | sort -z | xargs -0 cat pyproject.toml | sha256sum)
    if [[ -f $stamp && $(<"$stamp") == "$want" ]]; then
        return 0
    fi
    echo "setup: compiling the native parts"
    if ! .venv/bin/python -c 'import setuptools; setuptools.setup()' -q build_ext --inplace \
        >>"$log" 2>&1; then
        fail "The native parts of vof could not be compiled (the compiler's own words are above)."
    fi
    printf '%s\n' "$want" >"$stamp"
}

make_venv() {
    local stamp=.venv/.vof-stamp have='' base want
    if [[ ! -x $python ]]; then
        fail "$python was not found. nbdkit runs plugins with the distribution's Python, so the \
virtual environment has to be built on that one; install the package python3."
    fi
    if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        fail "$python is $("$python" -V 2>&1), but vof needs Python 3.11 or later, and it has to \
be the distribution's own because nbdkit runs plugins with it. Debian 12 has 3.11."
    fi

    # A virtual environment survives neither a move nor a new Python; anything else, pip can mend.
    base="$PWD $("$python" -V)"
    want="$base $(cat pyproject.toml tools/setup.sh | sha256sum)"
    if [[ -f $stamp ]] && .venv/bin/python -m pip --version >/dev/null 2>>"$log"; then
        have=$(<"$stamp")
    fi
    # Its last word is what has been installed; more than is asked for now is kept.
    [[ $have != *" dev,bench" ]] || extras=dev,bench
    if [[ $have == "$want $extras" ]]; then
        return 0
    fi

    echo "setup: building .venv"
    if [[ $have != "$base "* ]]; then
        rm -rf .venv
        if ! "$python" -m venv --system-site-packages .venv >>"$log" 2>&1; then
            fail "$python could not create the virtual environment .venv (its own words are \
above). On Debian it needs the package python3-venv, and room on this disk."
        fi
    fi
    if ! .venv/bin/python -m pip install -q --disable-pip-version-check -e ".[$extras]" \
        >>"$log" 2>&1; then
        fail "pip could not install vof and its development tools into .venv (its own words are \
above). It needs to reach the Python package index, or a mirror named in pip's configuration."
    fi
    printf '%s\n' "$want $extras" >"$stamp"
}

[[ $# -eq 1 ]] || usage
extras=dev # of pyproject.toml
case $1 in
    install | demo) packages=("${demo_packages[@]}") ;;
    check) packages=("${demo_packages[@]}" "${check_packages[@]}") ;;
    bench)
        packages=("${demo_packages[@]}" "${bench_packages[@]}")
        extras=dev,bench
        ;;
    native-check)
        packages=("${demo_packages[@]}" "${native_check_packages[@]}")
        ;;
    *) usage ;;
esac

if ! command -v dpkg-query >/dev/null; then
    log=/dev/null
    fail "this does not look like Debian (no dpkg-query). Install the equivalents of these \
packages by hand, then build the virtual environment as the README says: ${packages[*]}."
fi

mkdir -p build
exec 9>build/setup.lock
flock 9 # a second setup waits for the first and then finds nothing to do
: >"$log"
install_packages "${packages[@]}"
[[ $1 != install ]] || exit 0
make_venv
build_native
