#!/bin/sh
# The first and only process that the emulated Pi starts. Looks at the daemon's panel from outside: what a line is and how it
# stands comes from the kernel's pin controller, which reads the chip's registers. Ends with a line VERDICT and how many
# checks failed. Words of the kernel's command line are in the environment: patience, steps.
export PATH=/bin
busybox mount -t proc proc /proc
busybox --install -s /bin
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t debugfs debug /sys/kernel/debug
failures=0
mkdir /run/huddled
pins=$(echo /sys/kernel/debug/pinctrl/*.gpio-*/pins)

# Hundredths of a second since the start.
now() { tr -d . </proc/uptime | cut -d' ' -f1; }
part() { echo; echo "=== $* [$(($(now) / 100)) s]"; }
ok() { echo "ok    $*"; }
bad() { echo "FAIL  $*"; failures=$((failures + 1)); tail -n 15 /run/log; }
check() { # "what" COMMAND...: succeeds now
  local what=$1
  shift
  if "$@" >/dev/null 2>&1; then ok "$what"; else bad "$what"; fi
}
within() { # SECONDS "what" COMMAND...: until the command succeeds
  local limit=$(($1 * patience * 100)) what=$2 from=$(now)
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ $(($(now) - from)) -lt $limit ] || { bad "$what (not within $((limit / 100)) s)"; return 1; }
    usleep 50000
  done
  ok "$what ($((($(now) - from) * 10)) ms)"
}
not() { ! "$@"; }
both() { eval "$1" && eval "$2"; }
told() { grep -q -- "$1" /run/log; }

# LINE DIRECTION [LEVEL]: as the pin controller reads it. Nothing is wired to an input: it keeps the level it was set to last.
line() { grep -q "^pin $1 (gpio$1) .* function gpio_$2 in ${3:-..};" $pins; }
each() { local number; for number in 27 24 25; do line $number "$@" || return 1; done; }
lights() { sed -n -E 's/^pin (24|25|27) .*function gpio_(in|out) in (..);.*/BCM \1 \2 \3/p' $pins | tr '\n' ';'; }

# FILE: the panel.
configure() {
  { printf '[camera]\ndevice = "sim:testcard"\n[video]\nwidth = 320\nheight = 180\nframe_rate = 5\n'; cat "$1"; } >/run/config.toml
}
finish() {
  echo "VERDICT $failures"
  sleep 1000000
}
# The daemon, as a box that has never run: microphone and camera are open.
start() {
  rm -rf /run/state
  again
}
again() {
  huddled run --allow-sim --config /run/config.toml --state-dir /run/state >/run/log 2>&1 &
  box=$!
  until huddlectl status >/dev/null 2>&1; do
    kill -0 $box 2>/dev/null || { bad "the daemon runs"; finish; }
    usleep 50000
  done
}
ended() { kill -"$1" $box; wait $box; }
safe() { huddled safe-state --config /run/config.toml --state-dir /run/state >/run/log 2>&1; }

# Microphone and camera open, closed by an order, and the lines at the end of the program. Of both ways to the lines.
follows() {
  press 17
  release 22
  start
  within 60 "mic and camera are outputs, low: open" both "line 27 out lo" "line 24 out lo"
  within 5 "the mic button's level is read" told "button mic: is pressed at the start"
  check "and the camera button's" not told "button camera: is pressed"
  check "status is an output" line 25 out
  huddlectl mute >/dev/null
  within 5 "muted: mic is high" line 27 out hi
  check "camera is still low" line 24 out lo
  huddlectl camera off >/dev/null
  within 5 "camera off: camera is high" line 24 out hi
  huddlectl identify >/dev/null
  within 5 "identify: mic goes low" line 27 out lo
  within 5 "and high" line 27 out hi
  check "it ends cleanly when it is told to" ended TERM
  check "and its lines are inputs: $(lights)" each in
}

# Killed with the microphone open, the lines stay outputs, low, which would be a lamp that lies; until safe-state.
killed_and_safe() {
  start
  within 60 "open again" both "line 27 out lo" "line 24 out lo"
  ended KILL 2>/dev/null
  check "killed, nobody resets them: $(lights)" both "line 27 out lo" "line 24 out lo"
  local from=$(now)
  check "safe-state succeeds" safe
  check "it makes all three inputs, $((($(now) - from) * 10)) ms after it was asked: $(lights)" each in
  again
  within 60 "started again" line 27 out lo
  ended KILL 2>/dev/null
  again
  check "and again, over lines that were left as outputs, it ends cleanly" ended TERM
  check "and leaves inputs: $(lights)" each in
}

rppal() {
  part "rppal"
  configure /etc/panel-raspberrypi-rppal.toml
  follows
  killed_and_safe
}

chardev() {
  part "chardev, with a driver that keeps outputs"
  sed 's/pinctrl-bcm2711/pinctrl-bcm2835/; s/= 25 /= "GPIO25" /' /etc/panel-raspberrypi4.toml >/run/panel
  configure /run/panel
  follows
  killed_and_safe
}

killed() {
  part "chardev, with a driver that releases them"
  sed 's/pinctrl-bcm2711/pinctrl-bcm2835/' /etc/panel-raspberrypi4.toml >/run/panel
  configure /run/panel
  start
  within 60 "open" line 27 out lo
  ended KILL 2>/dev/null
  within 5 "killed, the driver makes all three inputs" each in
}

# LINE: what stands for hands. In this chip's model an input is at the level that was last written for it as an output.
press() { devmem 0x3f200028 32 $((1 << $1)); }
release() { devmem 0x3f20001c 32 $((1 << $1)); }

load() {
  local module
  release 17
  release 22
  while read -r module; do insmod "/modules/$module" || bad "insmod $module"; done </modules/list
  within 5 "LEDs are there" test -e /sys/class/leds/huddled:white:status
}
pressed() {
  part "keys of the device tree that the kernel polls"
  load
  configure /etc/panel-kernel.toml
  start
  within 60 "open" both "line 27 out lo" "line 24 out lo"
  press 17
  within 5 "BCM 17 low: mic is high" line 27 out hi
  release 17
  # Two presses within 0.4 s are a double one.
  usleep 600000
  press 22
  within 5 "BCM 22 low: camera is high" line 24 out hi
  release 22
  usleep 600000
  press 17
  within 5 "BCM 17 again: mic is low" line 27 out lo
  release 17
  check "it ends cleanly" ended TERM
}

# The overlay of the Yocto layer.
led() { read -r value <"/sys/class/leds/huddled:$1/brightness" && [ "$value" = "$2" ]; }
kernel() {
  part "keys and LEDs of the device tree"
  load
  check "mic and camera are lit before any program" both "line 27 out hi" "line 24 out hi"
  check "status is dark" line 25 out lo
  huddled devices >/run/log
  grep -A9 '"kernel".*buttons' /run/log
  check "devices lists the keys" told huddled-panel.*KEY_MICMUTE
  check "and the LEDs" told huddled:red:micmute
  configure /etc/panel-kernel.toml
  start
  within 60 "open: LEDs and lines are low" both "led red:micmute 0 && line 27 out lo" "led red:camera 0 && line 24 out lo"
  huddlectl mute >/dev/null
  within 5 "muted: LED and line are high" both "led red:micmute 1" "line 27 out hi"
  huddlectl camera off >/dev/null
  within 5 "camera off: LED and line are high" both "led red:camera 1" "line 24 out hi"
  check "no complaint about a key or an LED" not told "panel "
  check "it ends cleanly when it is told to" ended TERM
  check "LEDs still say closed: $(lights)" both "line 27 out hi" "line 24 out hi"
  start
  within 60 "open again" line 27 out lo
  ended KILL 2>/dev/null
  check "killed, the kernel keeps what it was told: $(lights)" line 27 out lo
  check "safe-state succeeds" safe
  check "closed, and status dark: $(lights)" both "line 27 out hi && line 24 out hi" "line 25 out lo"

  part "lines that the kernel holds"
  local panel
  for panel in /etc/panel-raspberrypi-rppal.toml /run/panel; do
    configure $panel
    start
    within 60 "${panel##*/}: lamp and holder are named" told "line 27.* is held by huddled:red:micmute"
    within 5 "button and holder" told "line 17.* is held by huddled:mic"
    ended TERM
    grep "line [12]7" /run/log
    check "it touched nothing: $(lights)" both "line 27 out hi && line 24 out hi" "line 25 out lo"
    check "safe-state says so, too" not safe
    check "and touches nothing: $(lights)" both "line 27 out hi && line 24 out hi" "line 25 out lo"
  done
  sed 's/= 27 /= 54 /' /run/panel >/run/wrong
  configure /run/wrong
  start
  within 60 "a line past the end is named" told "has no line 54; its lines are 0 to 53"
  ended TERM
}

echo
echo "=== $(tr '\0' ' ' </proc/device-tree/model), Linux $(uname -r), up after $(cut -d' ' -f1 /proc/uptime) s"
huddled --version
for step in $(echo "$steps" | tr , ' '); do $step; done
finish
