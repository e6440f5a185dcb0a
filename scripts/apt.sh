# Sourced: packages of other architectures and releases, without root and without a trace in the machine's own lists.

# An apt state in FOLDER/apt, from the machine's own sources, in which nothing is installed; "backports" adds Debian 12's. What
# comes along when something is installed is downloaded to FOLDER/apt/archives. In use until APT_CONFIG is unset.
apt_state() { # FOLDER [backports]
  local state=$1/apt sources=/etc/apt/sources.list.d/debian.sources
  [ -e $sources ] || sources=/etc/apt/sources.list
  mkdir -p "$state"/{etc,lists/partial,archives/partial}
  # In the machine's form, which apt knows by the name's end.
  local copy=$state/etc/debian.${sources##*.}
  cp $sources "$copy"
  [ "${2:-}" != backports ] ||
    sed -i -E -e 's/^Suites: bookworm( |$)/Suites: bookworm bookworm-backports\1/' \
      -e '/^deb .* bookworm /{p;s/ bookworm / bookworm-backports /}' "$copy"
  : >"$state/status"
  cat >"$state/apt.conf" <<CONF
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$state/etc";
Dir::State::status "$state/status";
Dir::State::lists "$state/lists";
Dir::Cache::archives "$state/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Sandbox::User "$(id -un)";
APT::Architectures {"amd64"; "arm64";};
Acquire::Languages "none";
Debug::NoLocking "true";
CONF
  export APT_CONFIG=$state/apt.conf
  apt-get -qq update
}

# What a package depends on directly and whose name begins so.
needs() { apt-cache depends "$1" | awk -v "name=^$2" '$1 == "Depends:" && $2 ~ name { print $2; exit }'; }

unpack() { # FOLDER PACKAGE...
  local folder=$1 package
  shift
  for package; do dpkg-deb -x "$package" "$folder"; done
}
