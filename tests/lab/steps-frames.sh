# Sourced by guest.sh: frames as drivers deliver them, for src/media/convert/recorded.

# Not among the usual ones; what it records is then in target/lab/share/frames.
step_frames() {
  part "frames for the converters"
  local format chroma ffmpeg folder=$lab/frames
  mkdir -p $folder
  systemctl stop huddled
  v4l2-ctl -d "$camera" -c test_pattern=0 -c osd_text_mode=2 -c show_square=1 || bad "vivid's bars"
  for format in YUYV NV12; do
    v4l2-ctl -d "$camera" --set-fmt-video=width=320,height=180,pixelformat=$format --stream-mmap --stream-count=1 \
      --stream-to=$folder/bars.${format,,} || bad "$format"
  done
  v4l2-ctl -d "$camera" -c osd_text_mode=0 -c show_square=0
  for chroma in 422 420; do
    # Another producer wants another device.
    modprobe v4l2loopback video_nr=9 exclusive_caps=1 card_label=loop || bad "v4l2loopback"
    ffmpeg -loglevel error -re -f lavfi -i smptebars=size=320x180:rate=10 -pix_fmt yuvj${chroma}p -c:v mjpeg -q:v 3 \
      -f v4l2 /dev/video9 > $lab/logs/ffmpeg 2>&1 &
    ffmpeg=$!
    within 20 "ffmpeg feeds the camera" bash -c "v4l2-ctl -d /dev/video9 --get-fmt-video | grep -q MJPG"
    v4l2-ctl -d /dev/video9 --stream-mmap --stream-count=1 --stream-to=$folder/bars-$chroma.jpg || bad "$chroma"
    kill $ffmpeg
    wait $ffmpeg
    modprobe -r v4l2loopback || bad "v4l2loopback stays"
  done
  ls -l $folder
}
