# Runs in the guest as root; /lab is the shared folder, host.mjs outside of it answers what look() asks. Boxes are the
# real binary: A on the kernel's drivers (vivid, snd-aloop, gpio-sim) as the packaged unit under systemd, B on simulated
# devices. Whatever takes time is waited for, and how long it took is printed; times of events are those of the kernel
# and the journal, because asking is slow in emulation.
# pipefail, because jq of no answer at all says yes.
set -u -o pipefail
export PATH=$PATH:/usr/sbin:/sbin
lab=/lab
failures=0
# Waits are so many times as long on a busy machine.
patience=$(cat $lab/patience)
[ -p /run/nap ] || mkfifo /run/nap
exec 8<>/run/nap

now() { local time=$EPOCHREALTIME; printf %s "${time/./}"; }
# Microseconds as seconds.
seconds() { printf '%d.%03d' $(($1 / 1000000)) $(($1 / 1000 % 1000)); }
since() { seconds $(($(now) - $1)); }
begun=$(now)
# sleep without a process.
nap() { read -r -t "$1" -u 8 _ || true; }
part() { echo; echo "=== $* [$(since "$begun") s]"; }
ok() { echo "ok    $*"; }
bad() { echo "FAIL  $*"; failures=$((failures + 1)); }
# check "what" command...: succeeds now.
check() {
  local what=$1
  shift
  if "$@" >/dev/null 2>&1; then ok "$what"; else bad "$what"; fi
}
# within SECONDS "what" command...: until the command succeeds.
within() {
  local limit=$(($1 * patience)) what=$2 from
  from=$(now)
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ $(($(now) - from)) -gt $((limit * 1000000)) ]; then
      bad "$what (not within $limit s)"
      return 1
    fi
    nap 0.1
  done
  ok "$what ($(since "$from") s)"
}
not() { ! "$@"; }
both() { eval "$1" && eval "$2"; }
a() { /run/bin/huddlectl --socket /run/huddled/control.sock --json "$@"; }
b() { /run/bin/huddlectl --socket /run/b/control.sock --json "$@"; }
status() { "$1" status | jq -e "$2"; }
health() { "$1" health | jq -e "$2"; }
figure() { "$1" health | jq -r "$2"; }
near() { health "$1" "$2 | . > $3 - 15 and . < $3 + 15"; }
property() { systemctl show huddled -p "$1" --value; }
# The end that nothing can be done about.
kill_a() {
  pid=$(property MainPID)
  [ "$pid" -gt 1 ] && kill -KILL "$pid"
}

# The log of A is the journal's, with its times; mark() is where a step begins to read.
marked=0
mark() { marked=$(wc -l < $lab/logs/a); }
told() { tail -n +$((marked + 1)) $lab/logs/a | grep -q -- "$1"; }
# When, microseconds, A first said so since the mark.
moment() {
  local line
  line=$(tail -n +$((marked + 1)) $lab/logs/a | grep -m 1 -- "$1") || return 1
  line=${line%% *}
  printf %s "${line/./}"
}
# back FROM "what" SENTENCE: how long after FROM A said so; 2 s where the machine is not busy.
back() {
  local at
  at=$(moment "$3") || at=0
  check "$2 was back $(seconds $((at - $1))) s after it was plugged in" \
    [ $((at > 0 && at - $1 < 2000000 * patience)) = 1 ]
}

# look FILE QUESTION...: asks host.mjs, says what it saw.
look() {
  local file=$1 number
  shift
  number=$(now)
  cp "$file" "$lab/ask/$number.bytes"
  echo "$number.bytes $*" > "$lab/ask/$number.new"
  mv "$lab/ask/$number.new" "$lab/ask/$number.ask"
  until [ -s "$lab/ask/$number.answer" ]; do nap 0.05; done
  seen=$(cat "$lab/ask/$number.answer")
  [ "${seen%% *}" = yes ]
}

# Simulated panels: on each chip line 0 is the mic's button, 1 the camera's, 2 to 4 are the lights of mic, camera and status.
names="mic-button camera-button mic-led camera-led status-led"
# chip LABEL LINES NAME...: makes one.
chip() {
  local folder=/sys/kernel/config/gpio-sim/$1 number=0 name
  mkdir -p $folder/bank0
  echo "$2" > $folder/bank0/num_lines
  echo "$1" > $folder/bank0/label
  shift 2
  for name in "$@"; do
    mkdir $folder/bank0/line$number
    echo "$name" > $folder/bank0/line$number/name
    number=$((number + 1))
  done
  echo 1 > $folder/live
  udevadm settle
}
chip_name() { cat "/sys/kernel/config/gpio-sim/$1/bank0/chip_name"; }
# Where its lines are.
lines_of() { echo "/sys/devices/platform/$(cat "/sys/kernel/config/gpio-sim/$1/dev_name")/$(chip_name "$1")"; }
# Of the chip whose `lines` these are; a button of the board is one to ground.
pressed=pull-up
released=pull-down
lit() { local value; read -r value < "$lines/sim_gpio$1/value"; [ "$value" = "$2" ]; }
press() { echo $pressed > "$lines/sim_gpio$1/pull"; }
release() { echo $released > "$lines/sim_gpio$1/pull"; }
# A pause, else the next one would be a double press.
tap() { press "$1"; nap 0.1; release "$1"; nap 0.5; }
# The kernel's own record of what was done to lines, with marks of ours in between.
tracing=/sys/kernel/tracing

config() { # USER, camera, microphone, speaker
  cat <<END
[box]
name = "Box $1"
[signaling]
url = "http://10.0.2.2:$(cat $lab/port)"
insecure_http = true
meeting = "00000000-0000-4000-8000-00000000000f"
user = "00000000-0000-4000-8000-00000000000$1"
[camera]
device = "$2"
[microphone]
device = "$3"
[speaker]
device = "$4"
[video]
width = 320
height = 180
frame_rate = 10
bitrate = 200_000
END
  [ "$1" = a ] || printf '[control]\nsocket = "/run/%s/control.sock"\n' "$1"
}
panel_of() {
  local key
  printf '[panel]\nbackend = "chardev"\n'
  for key in "buttons.mic mic-button" "buttons.camera camera-button" "leds.mic mic-led" "leds.camera camera-led" \
    "leds.status status-led"; do
    printf '[panel.%s]\nchip = "panel"\nline = "%s"\n' $key
  done
}
config_of_a() {
  config a "$camera" "hw:CARD=Loopback,DEV=1,SUBDEV=0" "plughw:CARD=Loopback,DEV=0,SUBDEV=1"
  panel_of
}
# Another box than A and B, beside systemd.
start() {
  local box=$1
  shift
  RUST_BACKTRACE=1 /run/bin/huddled run --config "/run/$box/config.toml" --state-dir "/run/$box/state" "$@" \
    > "$lab/logs/$box" 2>&1 &
}
# What somebody says in A's room, without a pause.
speak() {
  systemctl is-active -q lab-tone ||
    systemd-run -q --collect --unit=lab-tone -p Restart=always -p RestartSec=1 -p StartLimitIntervalSec=0 \
      sh -c "perl $lab/tone.pl 440 |
        aplay -q --buffer-time=1000000 --period-time=100000 -t raw -f S16_LE -r 48000 -c 1 -D plughw:CARD=Loopback,DEV=0,SUBDEV=0"
}
hush() { systemctl stop lab-tone 2>/dev/null; }
# What the room of A hears of B.
heard_at_card() {
  local channels
  channels=$(awk '/^channels/ {print $2}' /proc/asound/Loopback/pcm0p/sub1/hw_params)
  [ -n "$channels" ] || return 1
  timeout 20 arecord -q -D hw:CARD=Loopback,DEV=1,SUBDEV=1 -f S16_LE -r 48000 -c "$channels" -d 1 -t raw /run/heard.raw &&
    look /run/heard.raw tone 880 "$channels"
}
picture() { b picture 00000000-0000-4000-8000-00000000000a -o /run/b/picture.png && look /run/b/picture.png "$@"; }
sees() { within "$1" "$2" picture "$3" && echo "seen: $seen"; }

drivers() {
  modprobe vivid n_devs=1 node_types=0x1 num_inputs=1 input_types=0x0 || bad "vivid"
  modprobe snd-aloop index=5 pcm_substreams=2 || bad "snd-aloop"
  modprobe gpio-sim || bad "gpio-sim"
  chip panel 8 $names
  chip board 8
  local lines released=pull-up
  lines=$(lines_of board)
  release 0
  release 1
  modprobe -a gpio_keys leds_gpio board || bad "the board"
  udevadm settle
  check "before any daemon its lights say closed" both "lit 2 1" "lit 3 1"
}
network() {
  modprobe virtio_net || bad "virtio_net"
  udevadm settle
  local card
  card=$(ls /sys/class/net | grep -v '^lo$' | head -n 1)
  ip link set lo up
  ip link set "$card" up
  ip addr add 10.0.2.15/24 dev "$card"
  within 30 "the server answers" bash -c "exec 3<>/dev/tcp/10.0.2.2/$(cat $lab/port)"
}
package() {
  install -m 755 $lab/bin/* /run/bin/
  install -m 755 $lab/bin/* /usr/bin/
  put() { [ ! -e "$lab/package/$1" ] || install -D -m 644 "$lab/package/$1" "$2"; }
  for unit in huddled.service huddled-failed.service huddled-wanted.target; do put $unit /usr/lib/systemd/system/$unit; done
  put huddled.sysusers /usr/lib/sysusers.d/huddled.conf
  put huddled.tmpfiles /usr/lib/tmpfiles.d/huddled.conf
  put huddled.udev /usr/lib/udev/rules.d/60-huddled.rules
  # The one limit of the unit that an emulated machine may not keep.
  mkdir -p /etc/systemd/system/huddled.service.d
  printf '[Service]\nTimeoutStartSec=%s\n' $((30 * patience)) > /etc/systemd/system/huddled.service.d/emulated.conf
  systemd-sysusers || bad "systemd-sysusers"
  udevadm control --reload
  udevadm trigger --action=add --subsystem-match=gpio --subsystem-match=leds --subsystem-match=video4linux --subsystem-match=sound
  udevadm settle
  systemctl daemon-reload
}
# Both boxes, from nothing.
boxes() {
  mkdir -p /run/b /etc/huddled $lab/logs
  config_of_a > /etc/huddled/config.toml
  { config b sim:testcard sim:tone:880 sim:meter; printf '[panel]\nbackend = "sim:virtual"\n'; } > /run/b/config.toml
  [ -e $lab/logs/a ] || { journalctl -u huddled -f -n all -o short-unix > $lab/logs/a 2>/dev/null & }
  systemctl stop lab-b 2>/dev/null
  systemd-run -q --collect --unit=lab-b -p StandardOutput=append:$lab/logs/b -p StandardError=append:$lab/logs/b \
    /run/bin/huddled run --config /run/b/config.toml --state-dir /run/b/state --allow-sim
  systemctl reset-failed huddled 2>/dev/null
  systemctl restart --no-block huddled
}

# As every step wants it: both in the meeting, nothing closed, somebody speaks.
good='.microphone.muted == false and .camera.off == false and .camera.lost == false and .connected_peers == 1'
ready() {
  speak
  if ! status a "$good" >/dev/null 2>&1; then
    systemctl is-active -q huddled || systemctl start --no-block huddled
    within 60 "A answers" status a .version || finish
    status a '.microphone.muted == false' >/dev/null || tap 0
    status a '.camera.off == false' >/dev/null || tap 1
    within 90 "A and B are connected, and nothing is closed" status a "$good" || finish
  fi
  mark
}

finish() {
  if [ "$failures" -gt 0 ]; then
    for box in a b c; do
      [ -s $lab/logs/$box ] && { echo; echo "--- log of box $box"; tail -n 60 $lab/logs/$box; }
    done
    dmesg --level=err,warn | tail -n 15
  fi
  echo
  echo "=== $((failures > 0 ? 1 : 0)) [$(since "$begun") s]"
  echo $((failures > 0 ? 1 : 0)) > $lab/exit
  # A guest that is kept runs the steps that are asked for next (run.sh).
  if [ -e $lab/keep ]; then
    until [ -e $lab/again ]; do nap 0.5; done
    mv $lab/again $lab/steps
    rm -f $lab/exit
    exec bash $lab/guest.sh >> $lab/guest.log 2>&1
  fi
  exit 0
}

for file in $lab/steps-*.sh; do . "$file"; done
mkdir -p /run/bin $lab/logs
if [ ! -e /run/there ]; then
  part "drivers"
  drivers
  : > /run/there
fi
lines=$(lines_of panel)
camera=$(ls /dev/v4l/by-path/*vivid*index0 | head -n 1)
if ! cmp -s $lab/bin/huddled /run/bin/huddled; then
  part "the package"
  # The wiring that docs/devices.md asks for: a released line lights the mic and the camera light.
  press 2
  press 3
  systemctl stop huddled 2>/dev/null
  package
  check "every library is there" not grep -q "not found" <(ldd /run/bin/huddled)
  ip route | grep -q 10.0.2 || network
  boxes
fi
for step in $(cat $lab/steps); do
  "step_$step"
done
finish
