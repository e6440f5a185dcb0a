# Sourced by guest.sh: what drivers, cables and the program itself can do to a box.

step_shutter() {
  part "shutter of the camera"
  ready
  v4l2-ctl -d "$camera" -c privacy=1
  within 3 "a closed shutter switches the camera off" status a .camera.off
  tap 1
  check "a press finds it covered" status a .camera.off
  v4l2-ctl -d "$camera" -c privacy=0
  within 3 "the box sees it opened" told "the lens of the camera is free"
  check "that opens nothing" status a .camera.off
  tap 1
  within 5 "a press does" status a '.camera.off == false'
  local captured
  captured=$(figure a .video_out.captured)
  within 10 "frames come again" health a ".video_out.captured > $captured + 5"
}

step_errors() {
  part "driver errors"
  ready
  local damaged missed encoded
  damaged=$(figure a .video_out.damaged)
  v4l2-ctl -d "$camera" -c inject_v4l2_buf_flag_error=0
  within 5 "a buffer with the error flag is counted" health a ".video_out.damaged > $damaged"
  missed=$(figure a .video_out.missed)
  v4l2-ctl -d "$camera" -c percentage_of_dropped_buffers=50
  within 10 "dropped buffers are counted" health a ".video_out.missed > $missed + 3"
  v4l2-ctl -d "$camera" -c percentage_of_dropped_buffers=0
  v4l2-ctl -d "$camera" -c inject_fatal_streaming_error=0
  within 5 "a fatal error loses the camera" told "no picture from the camera"
  within 10 "and it comes back" told "the camera is back"
  encoded=$(figure a .video_out.encoded)
  within 10 "with frames" health a ".video_out.encoded > $encoded + 5"
}

bind() { echo "$1.0" > "/sys/bus/platform/drivers/$1/bind"; }
unbind() { echo "$1.0" > "/sys/bus/platform/drivers/$1/unbind"; }

step_camera() {
  part "camera unplugged"
  ready
  local plugged
  unbind vivid
  within 5 "A says camera lost" status a .camera.lost
  sees 15 "B sees the slate" slate
  check "the meeting goes on" status a '.connected_peers == 1'
  check "and the sound with it" near b .speaker.heard.frequency_hz 440
  mark
  plugged=$(now)
  bind vivid
  within 8 "plugged in again it is back" told "the camera is back"
  back "$plugged" "the camera's picture" "the camera is back"
  sees 15 "B sees it" colourful
  mark
  v4l2-ctl -d "$camera" -c disconnect=0
  within 5 "the driver's own disconnect is a loss, too" told "no picture from the camera"
  unbind vivid
  mark
  plugged=$(now)
  bind vivid
  within 8 "back again" told "the camera is back"
  back "$plugged" "the camera's picture" "the camera is back"
}

step_card() {
  part "sound card unplugged"
  ready
  local plugged
  within 30 "B hears the room" near b .speaker.heard.frequency_hz 440
  # It returns when nothing holds the card any more.
  unbind snd_aloop &
  local unbinding=$!
  within 10 "A says so" health a .audio_out.lost
  within 10 "and of the speaker" health a '.speaker.open == false'
  within 10 "B hears silence" health b '.speaker.heard.level_dbfs < -100'
  within 10 "A lets go of the card" not kill -0 $unbinding
  hush
  mark
  plugged=$(now)
  bind snd_aloop
  within 8 "plugged in again the microphone is back" told "the microphone is back"
  back "$plugged" "the microphone" "the microphone is back"
  within 8 "and the speaker" health a .speaker.open
  back "$plugged" "the speaker" "the speaker is back"
  speak
  within 30 "B hears the room again" near b .speaker.heard.frequency_hz 440
  within 60 "the room hears B again" heard_at_card
}

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
  check "its lines are released" not grep -q huddled <(gpioinfo "$chip")

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
