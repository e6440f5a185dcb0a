# Sourced by guest.sh: clocks that drift.

# Minutes of a sound card whose microphone is 300 ppm fast and whose speaker is 300 ppm slow. Emulated, that leaves time for
# little else: box B is outside, as it is elsewhere in a meeting, and pictures are rare. Not among the usual steps.
step_drift() {
  part "drift"
  local length end channels speech_before speech_causes voice_before voice_causes
  length=$(cat $lab/drift)
  shift_of() { amixer -q -c Loopback cset iface=PCM,name='PCM Rate Shift 100000',device=1,subdevice="$1" "$2" || bad "rate shift"; }
  {
    config a none "hw:CARD=Loopback,DEV=1,SUBDEV=0" "plughw:CARD=Loopback,DEV=0,SUBDEV=1" | sed 's/^frame_rate = .*/frame_rate = 1/'
    panel_of
  } > /etc/huddled/config.toml
  hush
  systemctl stop huddled lab-b
  shift_of 0 100030
  shift_of 1 99970
  outside() { look /dev/null "$@"; }
  health_of_b() { outside health && printf '%s\n' "${seen#*: }"; }
  b_outside() { health_of_b | jq -e "$1"; }
  outside start && ok "B runs outside" || bad "B runs outside"
  systemctl start --no-block huddled
  speak
  within 60 "A answers" status a .version
  status a '.microphone.muted == false' >/dev/null || tap 0
  within 90 "A and B are connected, and the microphone is open" status a '.connected_peers == 1 and .microphone.muted == false' || finish
  within 60 "A hears B" health a '.peers_in[0].audio.level_dbfs > -60'
  within 60 "B hears A" b_outside '.peers_in[0].audio.level_dbfs > -60'
  settled='.peers_in[0].audio | (.delay_ms - .target_ms | fabs) < 20'
  settle() { health a "$settled" && b_outside "$settled"; }
  nap 20
  within 60 "both have settled" settle
  channels=$(awk '/^channels/ {print $2}' /proc/asound/Loopback/pcm0p/sub1/hw_params)
  echo "the buffers, frames: $(awk '/^buffer_size/ {print $2}' /proc/asound/Loopback/pcm1c/sub0/hw_params) microphone, $(awk '/^buffer_size/ {print $2}' /proc/asound/Loopback/pcm0p/sub1/hw_params) speaker"
  heard='(.peers_in[0].audio | "\(.delay_ms) ms of delay, \(.target_ms) wanted, \(.lost) lost, \(.late) late, \(.concealed_ms) ms concealed, \(.restarts) restarts") + "; xruns: \(.audio_out.xruns) microphone, \(.speaker.xruns) speaker"'
  # The emulated machine stands still now and then: for longer than a buffer of its sound card, which is an xrun of who speaks, of A
  # or of B, or for longer than the other side waits for a packet, which is a period concealed. A tone may break as often.
  # A clock that is not followed would be off by a period 18 times in ten minutes.
  tone_xruns() { journalctl -q -u lab-tone -o cat | grep -c underrun; }
  causes() { jq "$1 + (.peers_in[0].audio.concealed_ms / 10 | ceil)"; }
  speech() { echo $(($(figure a .audio_out.xruns) + $(health_of_b | causes .speaker.xruns) + $(tone_xruns))); }
  voice() { echo $(($(a health | causes .speaker.xruns) + $(health_of_b | jq .audio_out.xruns))); }
  speech_before=$(speech)
  voice_before=$(voice)
  timeout $((length + 60)) arecord -q --buffer-time=2000000 -D hw:CARD=Loopback,DEV=1,SUBDEV=1 -f S16_LE -r 48000 -c "$channels" -d "$length" -t raw /var/tmp/heard.raw &
  local recording=$!
  end=$(($(now) + length * 1000000))
  while
    echo "[$(since "$begun") s] A: $(figure a "$heard")"
    echo "[$(since "$begun") s] B: $(b_outside "$heard" | jq -r .)"
    [ "$(now)" -lt "$end" ]
  do
    nap 30
    check "A's buffer is bounded" health a '.peers_in[0].audio | .delay_ms < .target_ms + 100'
    check "B's buffer is bounded" b_outside '.peers_in[0].audio | .delay_ms < .target_ms + 100'
  done
  wait $recording
  speech_causes=$(($(speech) - speech_before))
  voice_causes=$(($(voice) - voice_before))
  echo "the emulated machine was late $speech_causes times on the way from A to B, $voice_causes on the way back"
  check "seldom enough to show something" [ $((speech_causes + voice_causes)) -le $((length / 100)) ]
  outside stop && ok "B ends cleanly" || bad "B ends cleanly"
  systemctl stop huddled
  hush
  outside heard steady 440 1 "$length" $speech_causes && ok "B heard A, whose tone broke at most $speech_causes times" || bad "B heard A without a break"
  echo "B: $seen"
  look /var/tmp/heard.raw steady 880 "$channels" "$length" $voice_causes && ok "A's card played B, whose tone broke at most $voice_causes times" || bad "A's card played B without a break"
  echo "A: $seen"
  shift_of 0 100000
  shift_of 1 100000
  rm -f /var/tmp/heard.raw
  boxes
}
