# Sourced by guest.sh: panels and cameras of other kinds, the pins of an emulated Raspberry Pi, and clocks that drift.

restart_a() {
  systemctl restart huddled
  within 30 "A answers" status a .version
}

# A, with a motion JPEG camera and keys and LEDs that the kernel knows.
step_kernel() {
  part "MJPEG, keys and LEDs of the kernel"
  ready
  modprobe v4l2loopback video_nr=9 exclusive_caps=1 card_label=loop || bad "v4l2loopback"
  modprobe -a uinput uleds || bad "uinput and uleds"
  ffmpeg -loglevel error -re -f lavfi -i testsrc=size=320x180:rate=10 -c:v mjpeg -q:v 5 -f v4l2 /dev/video9 > $lab/logs/ffmpeg 2>&1 &
  local mjpeg=$! box_keys
  rm -f /run/keys
  mkfifo /run/keys
  perl $lab/keys.pl < /run/keys > $lab/logs/keys 2>&1 &
  box_keys=$!
  exec 7> /run/keys
  within 10 "the panel is there" grep -q ready $lab/logs/keys
  udevadm settle
  within 20 "ffmpeg feeds the camera" bash -c "v4l2-ctl -d /dev/video9 --get-fmt-video | grep -q MJPG"
  /run/bin/huddled devices | sed -n '/^[Kk]eys/,$p'
  {
    config a /dev/video9 "hw:CARD=Loopback,DEV=1,SUBDEV=0" "plughw:CARD=Loopback,DEV=0,SUBDEV=1"
    sed -n '/^\[panel\]/,$p' $lab/panel-kernel.toml
  } > /etc/huddled/config.toml
  mark
  restart_a
  within 20 "it decodes and encodes motion JPEG" health a '.video_out.encoded > 20 and .video_out.failed == 0'
  grep -h "camera .*asked for" $lab/logs/a | tail -n 1
  check "its mode is MJPEG" told "camera /dev/video9: .*MJPEG"
  led() { local value; read -r value < "/sys/class/leds/huddled:$1/brightness"; [ "$value" = "$2" ]; }
  tell() { echo "$*" >&7; }
  # A press of its own, some time after another.
  key() { tell key "$1" 1; nap 0.1; tell key "$1" 0; nap 0.5; }
  within 5 "the LED is dark while the microphone is open" led red:micmute 0
  tell key 248 1
  within 2 "a key mutes and the LED shines" led red:micmute 255
  tell key 248 0
  nap 0.5
  check "A says muted" status a '.microphone.muted and .microphone.confirmed'
  tell switch 9 1
  within 2 "a lens cover switches the camera off" status a .camera.off
  within 2 "its LED shines" led red:camera 255
  key 589
  check "a key finds it covered" status a .camera.off
  tell switch 9 0
  nap 0.5
  check "uncovered, it stays off" status a .camera.off
  key 589
  within 5 "until a key switches it on" status a '.camera.off == false'
  within 5 "and its LED off" led red:camera 0
  key 248
  within 5 "the microphone is open" led red:micmute 0
  tell switch 9 1
  within 2 "covered again" status a .camera.off
  mark
  local killed restarts
  restarts=$(property NRestarts)
  killed=$(now)
  kill_a
  within 5 "killed, the LEDs are made to say closed" both "led red:micmute 255" "led red:camera 255"
  echo "they said closed $(since "$killed") s after the end"
  within 20 "it is started again" both '[ "$(property NRestarts)" -gt '"$restarts"' ]' "status a .version"
  within 10 "covered, the camera is off" status a '.camera.off and .camera.confirmed'
  within 10 "and the microphone open as it was" led red:micmute 0
  restarts=$(property NRestarts)
  hang audio-out
  within 90 "a hung stage: the watchdog ends it" gone
  within 5 "the LEDs say closed" both "led red:micmute 255" "led red:camera 255"
  within 30 "it is started again" both '[ "$(property NRestarts)" -gt '"$restarts"' ]' "status a .version"
  tell switch 9 0
  systemctl stop huddled
  check "stopped, the LEDs say closed" both "led red:micmute 255" "led red:camera 255"
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
  local pi=/sys/kernel/config/gpio-sim/pi sim
  if [ ! -d $pi ]; then
    mkdir -p $pi/bank0
    echo 54 > $pi/bank0/num_lines
    echo pinctrl-bcm2835 > $pi/bank0/label
    echo 1 > $pi/live
    udevadm settle
  fi
  sim=/sys/devices/platform/$(cat $pi/dev_name)/$(cat $pi/bank0/chip_name)
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

# Ten minutes of a sound card whose microphone is 300 ppm fast and whose speaker is 300 ppm slow. Not among the usual ones.
step_drift() {
  part "drift"
  local length end shift_of
  length=$(cat $lab/drift)
  shift_of() { amixer -q -c Loopback cset iface=PCM,name='PCM Rate Shift 100000',device=1,subdevice="$1" "$2" || bad "rate shift"; }
  { config a none "hw:CARD=Loopback,DEV=1,SUBDEV=0" "plughw:CARD=Loopback,DEV=0,SUBDEV=1"; panel_of; } > /etc/huddled/config.toml
  { config b none sim:tone:880 sim:wav:/root/heard.wav; printf '[panel]\nbackend = "sim:virtual"\n'; } > /run/b/config.toml
  hush
  systemctl stop huddled lab-b
  shift_of 0 100030
  shift_of 1 99970
  rm -f /root/heard.wav
  systemd-run -q --collect --unit=lab-b -p StandardOutput=append:$lab/logs/b -p StandardError=append:$lab/logs/b \
    /run/bin/huddled run --config /run/b/config.toml --state-dir /run/b/state --allow-sim
  systemctl start --no-block huddled
  speak
  within 60 "A answers" status a .version
  status a '.microphone.muted == false' >/dev/null || tap 0
  within 90 "A and B are connected, and the microphone is open" status a '.connected_peers == 1 and .microphone.muted == false' || finish
  within 60 "A hears B" health a '.peers_in[0].audio.level_dbfs > -60'
  # The first seconds settle.
  nap 20
  local channels
  channels=$(awk '/^channels/ {print $2}' /proc/asound/Loopback/pcm0p/sub1/hw_params)
  heard() { figure "$1" '.peers_in[0].audio | "\(.delay_ms) ms of delay, \(.target_ms) wanted, \(.lost) lost, \(.late) late, \(.concealed_ms) ms concealed, \(.restarts) restarts"'; }
  echo "A: $(heard a); $(figure a '.audio_out.xruns') overruns"
  echo "B: $(heard b)"
  timeout $((length + 60)) arecord -q -D hw:CARD=Loopback,DEV=1,SUBDEV=1 -f S16_LE -r 48000 -c "$channels" -d "$length" -t raw /root/heard.raw &
  local recording=$!
  end=$(($(now) + length * 1000000))
  while [ "$(now)" -lt "$end" ]; do
    nap 30
    echo "[$(since "$begun") s] A: $(heard a); $(figure a '.audio_out.xruns') overruns"
    echo "[$(since "$begun") s] B: $(heard b)"
    health a '.peers_in[0].audio | .delay_ms < .target_ms + 100' >/dev/null || bad "A's buffer grows"
    health b '.peers_in[0].audio | .delay_ms < .target_ms + 100' >/dev/null || bad "B's buffer grows"
  done
  wait $recording
  systemctl stop huddled lab-b
  hush
  look /root/heard.wav steady 440 1 "$length" && ok "B heard A without a break" || bad "B heard A without a break"
  echo "B: $seen"
  look /root/heard.raw steady 880 "$channels" "$length" && ok "A's card played B without a break" || bad "A's card played B without a break"
  echo "A: $seen"
  shift_of 0 100000
  shift_of 1 100000
  rm -f /root/heard.*
  boxes
}
