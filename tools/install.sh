#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# Install vof under DESTDIR, each thing where Debian has its like:
#
#   /usr/lib/vof               a Python environment with vof and what it needs
#   /usr/bin, /usr/sbin        links to its programs, which run wherever DESTDIR is
#   /usr/lib/udev, /usr/lib/systemd   rules, units; not /lib, which is a link to there
#   /usr/lib/tmpfiles.d, /usr/share/{man,doc,bash-completion,zsh}
#
#   tools/install.sh [DESTDIR [files]]       files: all but the environment and its programs

set -euo pipefail
cd "$(dirname -- "${BASH_SOURCE[0]}")/.."
destdir=${1:-}
what=${2:-all}
umask 022

python=/usr/bin/python3
home=/usr/lib/vof

# put MODE FOLDER FILE...
put() {
    install -d -- "$destdir$2"
    install -m "$1" -t "$destdir$2" -- "${@:3}"
}

install_files() {
    put 644 /usr/lib/udev/rules.d udev/70-vof.rules
    put 755 /usr/lib/udev udev/vof_id
    put 644 /usr/lib/systemd/system udev/*.service udev/*.target
    install -d -- "$destdir/usr/lib/tmpfiles.d"
    install -m 644 -- udev/vof.tmpfiles "$destdir/usr/lib/tmpfiles.d/vof.conf"
    local page
    for page in man/*.[1-8]; do
        put 644 "/usr/share/man/man${page##*.}" "$page"
    done
    put 644 /usr/share/doc/vof README.md CHANGELOG.md LICENSE
    put 644 /usr/share/doc/vof/docs docs/*.md docs/*.svg docs/*.png
    put 644 /usr/share/doc/vof/examples docs/examples/*.conf
}

install_environment() {
    local log=build/install.log folder=$destdir$home name
    mkdir -p build
    "$python" -m venv --clear --system-site-packages "$folder"
    if ! "$folder/bin/python" -m pip install -q --disable-pip-version-check . >"$log" 2>&1; then
        tail -n 15 "$log" >&2
        echo "install: pip could not install vof (its own words are above)" >&2
        exit 1
    fi
    install -d -- "$destdir/usr/bin" "$destdir/usr/sbin"
    for name in vofctl vof-target vof-mount; do
        # pip writes where this Python is now. That is another place when DESTDIR has become /.
        sed -i -e "1c\\
#!/bin/sh\\
'''exec' \"\$(dirname -- \"\$(readlink -f -- \"\$0\")\")/python3\" \"\$0\" \"\$@\"\\
' '''" "$folder/bin/$name"
    done
    ln -sf -- "../lib/vof/bin/vofctl" "../lib/vof/bin/vof-target" "$destdir/usr/sbin/"
    ln -sf -- "../lib/vof/bin/vof-mount" "$destdir/usr/bin/"
    # mount -t fuse.vof
    ln -sf -- "../bin/vof-mount" "$destdir/usr/sbin/mount.fuse.vof"
    install -d -- "$destdir/usr/share/bash-completion/completions" \
        "$destdir/usr/share/zsh/vendor-completions"
    "$folder/bin/vofctl" completion bash >"$destdir/usr/share/bash-completion/completions/vofctl"
    "$folder/bin/vofctl" completion zsh >"$destdir/usr/share/zsh/vendor-completions/_vofctl"
}

install_files
[[ $what == files ]] || install_environment
if [[ -z $destdir && $what != files ]]; then
    echo "installed; for what runs already:"
    echo "    udevadm control --reload && systemctl daemon-reload && systemd-tmpfiles --create vof.conf"
fi
