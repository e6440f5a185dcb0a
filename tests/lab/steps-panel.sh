# Sourced by guest.sh: panels and cameras of other kinds, and the pins of an emulated Raspberry Pi.

restart_a() {
  systemctl restart huddled
  within 30 "A answers" status a .version
}

# configured CAMERA: A with keys and LEDs that the kernel knows.
configured() {
  config a "$1" "hw:CARD=Loopback,DEV=1,SUBDEV=0" "plughw:CARD=Loopback,DEV=0,SUBDEV=1"
  sed -n '/^\[panel\]/,$p' $lab/panel-kernel.toml
}

# A board's own panel: gpio-keys and leds-gpio on lines of a chip, buttons to ground, as a device tree has them (board.c).
step_board() {
  part "gpio-keys and leds-gpio"
  ready
  local restarts killed lines pressed=pull-down released=pull-up
  lines=$(lines_of board)
  /run/bin/huddled devices | sed -n '/^[Kk]eys/,$p'
  configured "$camera" > /etc/huddled/config.toml
  restart_a
  within 10 "the lights are dark while both are open" both "lit 2 0" "lit 3 0"
  follows board 1 0 1
  check "A says muted" status a '.microphone.muted and .microphone.confirmed'
  tap 1
  within 5 "the camera's button switches it off, and its light shines" both "status a .camera.off" "lit 3 1"
  tap 1
  within 5 "and on" both "status a '.camera.off == false'" "lit 3 0"
  tap 0
  within 5 "the microphone is open" lit 2 0
  restarts=$(property NRestarts)
  killed=$(now)
  kill_a
  within 5 "killed, the lights are made to say closed" both "lit 2 1" "lit 3 1"
  echo "they said closed $(since "$killed") s after the end"
  within 20 "it is started again" both '[ "$(property NRestarts)" -gt '"$restarts"' ]' "status a .version"
  within 10 "open as it was" both "lit 2 0" "lit 3 0"
  within 60 "in the meeting the status light is steady" both "status a '.connected_peers == 1'" "lit 4 1"
  systemctl stop huddled
  check "stopped, the lights say closed, and status is dark" both "lit 2 1 && lit 3 1" "lit 4 0"
  config_of_a > /etc/huddled/config.toml
  restart_a
}

# A, with a motion JPEG camera, keys and a lens cover from user space, and the board's LEDs.
step_kernel() {
  part "MJPEG, keys and LEDs of the kernel"
  ready
  modprobe v4l2loopback video_nr=9 exclusive_caps=1 card_label=loop || bad "v4l2loopback"
  modprobe uinput || bad "uinput"
  ffmpeg -loglevel error -re -f lavfi -i testsrc=size=320x180:rate=10 -c:v mjpeg -q:v 5 -f v4l2 /dev/video9 > $lab/logs/ffmpeg 2>&1 &
  local mjpeg=$! box_keys restarts lines
  lines=$(lines_of board)
  rm -f /run/keys
  mkfifo /run/keys
  perl $lab/keys.pl < /run/keys > $lab/logs/keys 2>&1 &
  box_keys=$!
  exec 7> /run/keys
  within 10 "the keys are there" grep -q ready $lab/logs/keys
  udevadm settle
  within 20 "ffmpeg feeds the camera" bash -c "v4l2-ctl -d /dev/video9 --get-fmt-video | grep -q MJPG"
  configured /dev/video9 | sed 's/"huddled-panel"/"lab-keys"/' > /etc/huddled/config.toml
  mark
  restart_a
  within 20 "it decodes and encodes motion JPEG" health a '.video_out.encoded > 20 and .video_out.failed == 0'
  grep -h "camera .*asked for" $lab/logs/a | tail -n 1
  check "its mode is MJPEG" told "camera /dev/video9: .*MJPEG"
  tell() { echo "$*" >&7; }
  # A press of its own, some time after another.
  key() { tell key "$1" 1; nap 0.1; tell key "$1" 0; nap 0.5; }
  within 5 "the LED is dark while the microphone is open" lit 2 0
  tell key 248 1
  within 2 "a key mutes and the LED shines" lit 2 1
  tell key 248 0
  nap 0.5
  check "A says muted" status a '.microphone.muted and .microphone.confirmed'
  tell switch 9 1
  within 2 "a lens cover switches the camera off" status a .camera.off
  within 2 "its LED shines" lit 3 1
  key 589
  check "a key finds it covered" status a .camera.off
  tell switch 9 0
  nap 0.5
  check "uncovered, it stays off" status a .camera.off
  key 589
  within 5 "until a key switches it on" status a '.camera.off == false'
  within 5 "and its LED off" lit 3 0
  key 248
  within 5 "the microphone is open" lit 2 0
  tell switch 9 1
  within 2 "covered again" status a .camera.off
  restarts=$(property NRestarts)
  hang audio-out
  within 90 "a hung stage: the watchdog ends it" gone
  within 5 "the LEDs say closed" both "lit 2 1" "lit 3 1"
  within 30 "it is started again" both '[ "$(property NRestarts)" -gt '"$restarts"' ]' "status a .version"
  within 10 "covered, the camera is off" status a '.camera.off and .camera.confirmed'
  within 10 "and the microphone open as it was" lit 2 0
  tell switch 9 0
  systemctl stop huddled
  check "stopped, the LEDs say closed" both "lit 2 1" "lit 3 1"
  exec 7>&-
  kill $mjpeg $box_keys 2>/dev/null
  wait $mjpeg $box_keys 2>/dev/null
  config_of_a > /etc/huddled/config.toml
  restart_a
}

# rppal where there is no Pi: it believes a model number, maps a file for the registers, and takes its edges from a chip
# with the Pi's label. Edges are real; outputs are what is written to the registers.
step_rppal() {
  part "rppal"
  local sim
  [ -d /sys/kernel/config/gpio-sim/pinctrl-bcm2835 ] || chip pinctrl-bcm2835 54
  sim=$(lines_of pinctrl-bcm2835)
  printf 'Revision\t: a02082\n' > /run/cpuinfo
  mount --bind /run/cpuinfo /proc/cpuinfo
  dd if=/dev/zero of=/dev/gpiomem bs=4096 count=1 2>/dev/null
  mkdir -p /run/c
  rm -rf /run/c/state
  # No server, no peer: the buttons work.
  {
    printf '[control]\nsocket = "/run/c/control.sock"\n[camera]\ndevice = "sim:testcard"\n'
    printf '[video]\nwidth = 320\nheight = 180\nframe_rate = 5\n[panel]\nbackend = "rppal"\n'
    printf '[panel.buttons.mic]\nline = "17"\n[panel.buttons.camera]\nline = "22"\n[panel.leds.mic]\nline = "27"\n'
  } > /run/c/config.toml
  c() { /run/bin/huddlectl --socket /run/c/control.sock --json "$@"; }
  start c --allow-sim
  local box_c=$! seen=$failures off
  within 30 "box C answers" status c .version
  # 32 bits at this offset.
  register() { od -An -tx4 -j$(($1)) -N4 /dev/gpiomem | tr -d ' '; }
  is() { [ $((0x$(register "$1") & $2)) = $(($3)) ]; }
  within 10 "BCM 27 is an output (GPFSEL2)" is 0x08 0x00e00000 0x00200000
  within 10 "it is low while the microphone is open (GPCLR0)" is 0x28 0x08000000 0x08000000
  # It was lit while the box started.
  dd if=/dev/zero of=/dev/gpiomem bs=4 seek=7 count=1 conv=notrunc 2>/dev/null
  push() { echo pull-up > "$sim/sim_gpio$1/pull"; nap 0.1; echo pull-down > "$sim/sim_gpio$1/pull"; nap 0.5; }
  push 17
  within 10 "an edge of BCM 17 mutes" status c '.microphone.muted and .microphone.confirmed'
  within 5 "BCM 27 is set high (GPSET0)" is 0x1c 0x08000000 0x08000000
  push 17
  within 10 "another opens" status c '.microphone.muted == false'
  # Each button has its own edges: none waits for another's, and no release takes the place of its press.
  for off in true false true false; do
    push 22
    within 10 "BCM 22: camera off is $off" status c ".camera.off == $off"
  done
  kill -TERM $box_c
  wait $box_c
  check "C ends cleanly" [ $? = 0 ]
  [ "$failures" = "$seen" ] || cat $lab/logs/c
  umount /proc/cpuinfo
  rm /dev/gpiomem
}
