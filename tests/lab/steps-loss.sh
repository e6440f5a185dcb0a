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
