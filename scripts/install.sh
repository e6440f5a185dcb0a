#!/usr/bin/env bash
# Installs what packaging/files.list names, or removes it again.
#   install.sh install | uninstall | list
# WITHOUT names what is left out of made, guest, doc.
# Understands DESTDIR (put in front of everything), PREFIX (/usr), UNITDIR and UDEVDIR; and where things come from: BUILT, a folder
# of programs (target/release), GUEST, the guest page (target/guest), MADE, where the programs describe themselves (target/package);
# of programs for another kind of machine MADE_BY, a folder of the same for this one, and TARGET, the compiler's name of that machine.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "install: $*" >&2; exit 1; }

PREFIX=${PREFIX:-/usr}
DESTDIR=${DESTDIR:-}
case $PREFIX in /*) ;; *) fail "PREFIX=$PREFIX: give an absolute path" ;; esac
case $DESTDIR in "" | /*) ;; *) fail "DESTDIR=$DESTDIR: give an absolute path" ;; esac
declare -A place=(
  [built]=${BUILT:-target/release}
  [made]=${MADE:-target/package}
  [guest]=${GUEST:-target/guest}
  [bin]=$PREFIX/bin
  [share]=$PREFIX/share
  [doc]=$PREFIX/share/doc/huddled
  [unit]=${UNITDIR:-$PREFIX/lib/systemd/system}
  [udev]=${UDEVDIR:-$PREFIX/lib/udev/rules.d}
  [sysusers]=$PREFIX/lib/sysusers.d
  [tmpfiles]=$PREFIX/lib/tmpfiles.d
  [etc]=/etc
)

# Whether WITHOUT names it.
without() { [[ " ${WITHOUT:-} " == *" $1 "* ]]; }

# Prints mode, source and destination of every file, separated by tabs.
listed() {
  local mode source destination name file
  while read -r mode source destination; do
    case $mode in "" | "#"*) continue ;; esac
    case $source in
      @made@/*) ! without made || continue ;;
      @guest@/*) ! without guest || continue ;;
    esac
    case $destination in
      @doc@/*) ! without doc || continue ;;
    esac
    for name in "${!place[@]}"; do
      source=${source//@$name@/${place[$name]}}
      destination=${destination//@$name@/${place[$name]}}
    done
    if [ "$source" = - ]; then
      printf '%s\t-\t%s\n' "$mode" "$destination"
      continue
    fi
    # A pattern: unquoted on purpose.
    # shellcheck disable=SC2086
    for file in $source; do
      [ -e "$file" ] || fail "$file is missing: make guest build makes what is installed"
      case $destination in
        */) printf '%s\t%s\t%s%s\n' "$mode" "$file" "$destination" "${file##*/}" ;;
        *) printf '%s\t%s\t%s\n' "$mode" "$file" "$destination" ;;
      esac
    done
  done <packaging/files.list
}

# The programs describe themselves; one built for another kind of machine cannot here, then MADE_BY is a folder of programs
# that can.
describe() {
  local by=${MADE_BY:-${place[built]}} program
  rm -rf "${place[made]}"
  for program in huddled huddlectl; do
    [ -x "$by/$program" ] || fail "$by/$program is missing: run make build, or set BUILT"
    "$by/$program" generate "${place[made]}" || fail "$by/$program cannot run here: set MADE_BY to a folder of programs that can"
  done
  scripts/notices.py "${TARGET:-$(rustc -vV | sed -n 's/^host: //p')}" >"${place[made]}/THIRD-PARTY.txt" ||
    fail "the licences of the libraries could not be collected; see the message above"
}

install_all() {
  local list mode source destination
  without made || describe
  list=$(listed)
  while IFS=$'\t' read -r mode source destination; do
    if [ "$source" = - ]; then
      install -d -m "$mode" "$DESTDIR$destination"
      continue
    fi
    install -D -m "$mode" "$source" "$DESTDIR$destination"
    case $destination in
      # Units name the programs by their path.
      *.service) sed -i "s#=\(-\?\)/usr/bin/#=\1$PREFIX/bin/#" "$DESTDIR$destination" ;;
    esac
  done <<<"$list"
  if [ -z "$DESTDIR" ]; then
    echo "install: done. On a system with systemd:"
    echo "  systemd-sysusers && systemd-tmpfiles --create huddled.conf"
    echo "  udevadm control --reload && udevadm trigger && systemctl daemon-reload && systemctl enable --now huddled"
  fi
}

# What is installed is found out anew, so the same tree that installed must be there, built.
uninstall_all() {
  local list mode source destination folder
  without made || [ -d "${place[made]}" ] || describe
  list=$(listed)
  while IFS=$'\t' read -r mode source destination; do
    [ "$source" = - ] || rm -f "$DESTDIR$destination"
  done <<<"$list"
  # Folders of ours that are empty now; those of the system stay.
  for folder in "${place[doc]}/docs/images" "${place[doc]}/docs" "${place[doc]}/examples" "${place[doc]}" \
    "${place[share]}/huddled/guest" "${place[share]}/huddled" /etc/huddled/conf.d /etc/huddled; do
    [ ! -d "$DESTDIR$folder" ] || rmdir --ignore-fail-on-non-empty "$DESTDIR$folder"
  done
  if [ -z "$DESTDIR" ]; then
    echo "uninstall: done; settings (/etc/huddled), state (/var/lib/huddled*) and the users huddled and huddled-hub are left"
  fi
}

case ${1:-} in
  install) install_all ;;
  uninstall) uninstall_all ;;
  list) listed | cut -f3 | sort ;;
  *) fail "say install, uninstall or list" ;;
esac
