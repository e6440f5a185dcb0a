# Sourced by guest.sh: what drivers and cables can do to a box.

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
  local damaged missed encoded silent
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

  # No frames, and no word of it from the driver: after they flowed, and from the start.
  silence "a camera that stalls" 1500
  sees 15 "B sees the slate" slate
  flows
  sees 15 "B sees the picture" colourful
  tap 1
  within 5 "the camera is off" status a '.camera.off and .camera.confirmed'
  v4l2-ctl -d "$camera" -c percentage_of_dropped_buffers=100
  mark
  silent=$(now)
  tap 1
  deadline "a camera that does not begin" 10000
  flows
}
# silence WHAT MILLISECONDS: the driver delivers no frames from now on.
silence() {
  mark
  silent=$(now)
  v4l2-ctl -d "$camera" -c percentage_of_dropped_buffers=100
  deadline "$@"
}
# deadline WHAT MILLISECONDS: it is lost so long after `silent`, and not much before: the last frame may be some older.
deadline() {
  local at
  within $(($2 / 1000 + 5)) "$1 is lost" told "no picture from the camera: .* stalled for" || return
  at=$(($(moment "no picture from the camera") - silent))
  check "after $(seconds $at) s, of $2 ms that it is given" \
    [ $((at > ($2 - 500) * 1000 && at < ($2 + 500 * patience) * 1000)) = 1 ]
  tail -n +$((marked + 1)) $lab/logs/a | grep -m 1 "no picture from the camera"
}
flows() {
  local plugged
  mark
  plugged=$(now)
  v4l2-ctl -d "$camera" -c percentage_of_dropped_buffers=0
  within 8 "frames flow again" told "the camera is back"
  back "$plugged" "the camera's picture" "the camera is back"
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

# The share's source on the kernel's driver: unplugged, given up meanwhile, wanted again.
screen() { b picture 00000000-0000-4000-8000-00000000000a --screen -o /run/b/screen.png && look /run/b/screen.png "$@"; }
shows() { within "$1" "$2" screen "$3" && echo "seen: $seen"; }
step_share() {
  part "the share's source unplugged"
  ready
  local shared='.screen.sharing and .connected_peers == 1'
  {
    config a none "hw:CARD=Loopback,DEV=1,SUBDEV=0" "plughw:CARD=Loopback,DEV=0,SUBDEV=1"
    printf '[screen]\ndevice = "%s"\n' "$camera"
    panel_of
  } > /etc/huddled/config.toml
  restart_a
  within 60 "A and B are connected" status a '.connected_peers == 1'
  a share on > /dev/null
  within 20 "B sees a share" status b '.peers[0].sharing'
  shows 60 "and vivid's colour bars in it" colourful
  mark
  unbind vivid
  within 5 "A says that there is no picture" told "no picture from the screen's source"
  check "and that its source is lost" health a .screen_out.lost
  shows 30 "B sees the slate in the share" slate
  check "the meeting goes on, and the share with it" status a "$shared"
  within 10 "and the sound" near b .speaker.heard.frequency_hz 440
  replugged
  unbind vivid
  within 5 "unplugged again" health a .screen_out.lost
  a share off > /dev/null
  within 20 "the share is ended meanwhile" status b '.peers[0].sharing == false'
  check "and nothing is lost" health a '.screen_out.lost == false'
  mark
  a share on > /dev/null
  within 5 "begun again there is no picture" told "no picture from the screen's source"
  within 20 "B sees a share again" status b '.peers[0].sharing'
  replugged
  shows 30 "B sees the colour bars" colourful
  a share off > /dev/null
  within 20 "its end is seen" status b '.peers[0].sharing == false'
  config_of_a > /etc/huddled/config.toml
  restart_a
}
replugged() {
  local plugged
  mark
  plugged=$(now)
  bind vivid
  within 8 "plugged in again it is back" told "the screen's source is back"
  back "$plugged" "the share's picture" "the screen's source is back"
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
