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

# Runs what not every machine can, which it says itself and with exit 69, and what a busy machine can spoil: it may fail once.
where_possible() { # "what" COMMAND...
  local what=$1 code=0 again=0
  shift
  "$@" || code=$?
  if [ "$code" != 0 ] && [ "$code" != 69 ]; then
    echo "REPEAT: $what failed (exit $code); once more, in case it was the machine"
    again=$code
    code=0
    "$@" || code=$?
    # What could be run before can be run.
    [ "$code" != 69 ] || code=$again
  fi
  [ "$code" != 69 ] || code=0
  return $code
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
