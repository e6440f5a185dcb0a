# Sourced by guest.sh: what the program itself can do to a box, and what it says about one.

# Stops one thread of A for good, until the watchdog has ended it; `pid`, `hung` and the mark are set.
hang() {
  local thread tid=""
  pid=$(property MainPID)
  for thread in /proc/"$pid"/task/*; do grep -qx "$1" "$thread/comm" && tid=${thread##*/}; done
  mark
  hung=$(now)
  perl $lab/hang.pl "$tid" > $lab/logs/hang 2>&1 &
}
gone() { [ ! -e "/proc/$pid" ]; }
step_restart() {
  part "killed, hung, stopped"
  ready
  within 5 "its light is dark" lit 2 0
  local restarts
  restarts=$(property NRestarts)
  kill_a
  within 2 "killed, its lights say closed" both "lit 2 1" "lit 3 1"
  within 20 "it is started again" both '[ "$(property NRestarts)" -gt '"$restarts"' ]' "status a .version"
  within 20 "open as it was" both "status a '.microphone.muted == false'" "lit 2 0"
  within 60 "in the meeting" status a '.connected_peers == 1'
  restarts=$(property NRestarts)
  hang video-out
  within 30 "a hung stage is named" told "video has stalled"
  within 90 "the watchdog ends it" gone
  echo "the watchdog ended it $(since "$hung") s after the stage hung"
  within 2 "its lights say closed" both "lit 2 1" "lit 3 1"
  within 30 "it is started again" both '[ "$(property NRestarts)" -gt '"$restarts"' ]' "status a .version"
  echo "it answered $(since "$hung") s after the stage hung"
  within 60 "in the meeting again" status a '.connected_peers == 1'
  tap 0
  within 5 "muted" status a .microphone.muted
  restarts=$(property NRestarts)
  kill_a
  within 20 "killed, it is started again" both '[ "$(property NRestarts)" -gt '"$restarts"' ]' "status a .version"
  check "mute survived" status a '.microphone.muted and .microphone.confirmed'
  local stopped
  stopped=$(now)
  systemctl stop huddled
  echo "A ended ($(property Result), status $(property ExecMainStatus)) after $(since "$stopped") s"
  check "A ends cleanly" [ "$(property ExecMainStatus)" = 0 ]
  check "its lights say closed" both "lit 2 1" "lit 3 1"
  check "its lines are released" not grep -q huddled <(gpioinfo "$(chip_name panel)")

  # Stopped while it hangs it does not end in time, which systemd calls a failure. Stopped it is nevertheless.
  systemctl start --no-block huddled
  within 60 "started again it answers" status a .version
  within 30 "systemd calls it active" systemctl is-active huddled
  hang huddled
  systemctl stop huddled
  echo "A was stopped ($(property ActiveState), $(property Result)) $(since "$hung") s after its main thread hung"
  check "hung it is stopped, though it failed to end" [ "$(property ActiveState)" = failed ]
  within 20 "nobody wants it" [ "$(systemctl show -P Result huddled-failed)" = exec-condition ]
  check "so nothing starts it again" not systemctl is-active huddled huddled-failed
  check "its lights say closed" both "lit 2 1" "lit 3 1"

  # What crashes too often shows that, and is tried again when that was shown.
  mkdir -p /run/systemd/system/huddled.service.d /run/systemd/system/huddled-failed.service.d
  printf '[Unit]\nStartLimitBurst=2\n' > /run/systemd/system/huddled.service.d/lab.conf
  printf '[Service]\nRuntimeMaxSec=10\n' > /run/systemd/system/huddled-failed.service.d/lab.conf
  systemctl daemon-reload
  systemctl reset-failed huddled
  systemctl start --no-block huddled
  within 60 "wanted again it answers" status a .version
  kill_a
  within 60 "killed once it is started again" both '[ "$(property NRestarts)" = 1 ]' "status a .version"
  mark
  kill_a
  within 30 "killed twice it shows that it has failed" systemctl is-active huddled-failed
  rm /run/systemd/system/huddled.service.d/lab.conf
  systemctl daemon-reload
  within 60 "then it is tried again" status a .version
  check "and shows it no more" not systemctl is-active huddled-failed
  rm /run/systemd/system/huddled-failed.service.d/lab.conf
  systemctl daemon-reload
}

step_selftest() {
  part "selftest"
  # Not while it is being started: that would count as a failure, which is shown on the panel.
  ready
  systemctl stop huddled huddled-failed
  hush
  mkdir -p /run/s
  { config s "$camera" plughw:CARD=Loopback,DEV=1,SUBDEV=0 plughw:CARD=Loopback,DEV=0,SUBDEV=0; panel_of; } > /run/s/config.toml
  selftest() { /run/bin/huddled selftest --config /run/s/config.toml "$@"; }
  says() { jq -e "[.checks[] | select(.check == \"$1\")][0] | $2" /run/s/report.json; }
  selftest && ok "it passes" || bad "it passes"
  v4l2-ctl -d "$camera" -c privacy=1
  while :; do press 0; nap 0.2; release 0; press 1; nap 0.2; release 1; nap 0.5; done &
  local pressing=$!
  selftest --json --buttons > /run/s/report.json 2>/dev/null
  kill $pressing
  release 0
  release 1
  v4l2-ctl -d "$camera" -c privacy=0
  check "the tone is heard with its level" says "sound loop" '.verdict == "pass" and (.figures.level_dbfs + 12 | fabs) < 2'
  check "a light is for people to judge" says "light mic" '.verdict == "look"'
  check "a press is heard" both "says 'button mic' '.verdict == \"pass\"'" "says 'button camera' '.verdict == \"pass\"'"
  check "the server is reachable" says server '.verdict == "pass"'
  check "a covered lens fails" says camera '.verdict == "fail" and (.text | contains("open the shutter"))'
}

step_end() {
  part "the end"
  check "nothing panicked" not grep -q panicked $lab/logs/a $lab/logs/b
  dmesg --level=err | tail -n 5
}
