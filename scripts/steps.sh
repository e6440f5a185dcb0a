# Sourced: runs the steps of a script with progress, and ends with one clear line.
steps_name=$(basename "$0" .sh)
steps_begun=$SECONDS
steps_now="starting"

step() {
  steps_now="$1"
  shift
  echo
  echo "== $steps_name: $steps_now ($((SECONDS - steps_begun)) s)"
  "$@"
}

steps_end() {
  local code=$?
  echo
  if [ "$code" = 0 ]; then
    echo "== $steps_name: all passed in $((SECONDS - steps_begun)) s"
  else
    echo "== $steps_name: FAILED at: $steps_now (exit $code)" >&2
  fi
}
trap steps_end EXIT
