# Sourced by guest.sh: what a meeting is made of, and the panel that closes it.

step_devices() {
  part "huddled devices"
  /run/bin/huddled devices || bad "huddled devices"
  listed() { /run/bin/huddled devices --json | jq -e "$1"; }
  check "the camera by its port" listed ".cameras[0].device == \"$camera\""
  check "the microphone" listed '[.microphones[].device] | index("plughw:CARD=Loopback,DEV=1")'
  check "the panel's lines" listed '.gpio_chips[] | select(.label == "panel").named_lines[] | select(.name == "mic-led").offset == 2'
}

step_unit() {
  part "the unit"
  within 60 "A answers" status a .version
  within 30 "systemd calls it active" systemctl is-active huddled
  check "it runs as huddled" [ "$(ps -o user= -p "$(property MainPID)")" = huddled ]
  check "it can gain no privileges" grep -q '^NoNewPrivs:[[:space:]]*1' "/proc/$(property MainPID)/status"
  systemd-analyze security huddled --no-pager | tail -n 1
  within 60 "B answers" status b .version
  within 90 "they are connected" status a '.connected_peers == 1' || finish
  grep -h "camera .*asked for" $lab/logs/a | head -n 1
}

step_picture() {
  part "picture"
  ready
  within 30 "B decodes A's camera" health b '.peers_in[0].video | .decoded > 20 and .width == 320 and .height == 180'
  within 20 "A decodes B's camera" health a '.peers_in[0].video.decoded > 20'
  sees 20 "it shows vivid's colour bars" colourful
  figure a '.video_out | tostring'
}

step_sound() {
  part "sound"
  ready
  within 30 "B hears what A's microphone hears" near b .speaker.heard.frequency_hz 440
  within 60 "A's card plays what B says" heard_at_card
  echo "heard: $seen"
  figure a '"\(.audio_out), \(.speaker)"'
}

# Presses until the light is as expected, and adds how long it took by the kernel's clock to `times`, milliseconds.
follow() {
  local from took
  from=$(now)
  echo > $tracing/trace
  echo press > $tracing/trace_marker
  press 0
  # Held for longer, where looking takes its time, it would be push to talk.
  nap 0.1
  release 0
  until lit 2 "$1"; do
    [ $(($(now) - from)) -gt 5000000 ] && break
    nap 0.05
  done
  took=$(awk -v line="$light_line" -v level="$1" '
    {for (n = 1; n < NF; n++) if ($n ~ /^[0-9]+\.[0-9]+:$/) at = $n + 0}
    /: press$/ {pressed = at}
    $0 ~ "gpio_value: " line " set " level {if (!shone) shone = at}
    END {print shone ? int((shone - pressed) * 1000 + 0.5) : 5000}' $tracing/trace)
  times="$times $took"
  # Else the next one would be a double press.
  nap 0.5
}
# follows LABEL LEVEL...: presses the chip's button until its light is at each of these levels, and says how long it took.
follows() {
  local base times="" light_line expected label=$1
  shift
  mountpoint -q $tracing || mount -t tracefs tracefs $tracing
  base=$(grep -lx "$label" /sys/class/gpio/gpiochip*/label)
  light_line=$(($(cat "${base%/label}/base") + 2))
  echo 1 > $tracing/events/gpio/gpio_value/enable
  for expected in "$@"; do follow "$expected"; done
  echo 0 > $tracing/events/gpio/gpio_value/enable
  echo "the light followed the press after (ms):$times"
  # 250 ms on a quiet machine, not each time on a busy one: it is emulated.
  check "each press moved it, some within $((125 * patience)) ms" \
    awk -v times="$times" -v presses=$# -v l=$((125 * patience)) \
    'BEGIN {c = split(times, t); for (i in t) {n += t[i] <= l; m += t[i] < 5000}; exit !(c == presses && m == c && n >= 2)}'
}
step_light() {
  part "button and light"
  ready
  within 20 "the light is dark while the microphone is open" lit 2 0
  follows panel 1 0 1 0 1 0 1
  check "A says muted" status a '.microphone.muted and .microphone.confirmed'
  within 10 "B hears nothing" health b '.speaker.heard.level_dbfs < -100'
  tap 0
  within 10 "B hears it again" near b .speaker.heard.frequency_hz 440
}

step_gestures() {
  part "presses"
  ready
  # Three edges within the 20 ms of a bouncing contact; on a busy machine it takes several tries to be so quick.
  local conclusive=0 try before from took
  for try in 1 2 3 4 5 6 7 8 9 10; do
    before=$(status a .microphone.muted)
    # No process in between: that takes longer than they may.
    from=${EPOCHREALTIME/./}
    press 0; release 0; press 0
    took=$((${EPOCHREALTIME/./} - from))
    nap 0.3
    release 0
    nap 0.5
    [ $took -lt 20000 ] || continue
    conclusive=1
    within 5 "a press that bounces for $took us is one press" status a ".microphone.muted != $before"
    break
  done
  [ $conclusive = 1 ] || echo "note: the machine is too busy to bounce; it was not looked at"
  # What bounced too slowly were two presses, which close both.
  status a '.microphone.muted == false' >/dev/null || tap 0
  status a '.camera.off == false' >/dev/null || tap 1
  within 10 "both are open" status a '.microphone.muted == false and .camera.off == false'
  tap 1
  within 5 "the camera button switches it off" status a .camera.off
  within 5 "its light is lit" lit 3 1
  within 5 "the device is free then" v4l2-ctl -d "$camera" --set-fmt-video=width=640,height=360,pixelformat=YUYV
  local captured
  captured=$(figure a .video_out.captured)
  tap 1
  within 5 "and on" status a '.camera.off == false'
  within 10 "frames come again" health a ".video_out.captured > $captured + 5"

  press 0; nap 0.1; release 0; nap 0.05; press 0; nap 0.1; release 0
  within 5 "a double press closes both" status a '.microphone.muted and .camera.off'
  nap 0.5
  tap 1
  within 5 "the camera is on" status a '.camera.off == false'
  press 0
  within 5 "a held press opens the microphone" status a '.microphone.muted == false'
  nap 1
  release 0
  within 5 "and closes it at its end" status a .microphone.muted
  nap 0.5
  tap 0
  within 5 "the microphone is open again" status a '.microphone.muted == false'
}

step_wrong_lines() {
  part "wrong lines"
  mkdir -p /run/c
  { config c none none none; panel_of | sed 's/"camera-led"/"no-such-line"/; s/"status-led"/"99"/'; } > /run/c/config.toml
  ready
  start c
  local box_c=$!
  within 20 "a held line: chip, line and holder are named" grep -q "line 0 (mic-button) is held by huddled" $lab/logs/c
  within 5 "a line that does not exist is named" grep -q "no line called no-such-line" $lab/logs/c
  within 5 "and one past the end" grep -q "has no line 99" $lab/logs/c
  grep -h "panel button\|panel light" $lab/logs/c
  kill $box_c
  wait $box_c 2>/dev/null
}
