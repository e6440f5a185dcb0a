# Sourced by guest.sh: the Debian package itself, and a box that is managed from elsewhere while it is in a meeting.

# In place of what package() laid by hand; run.sh brings the package when it is told where it is.
step_deb() {
  part "the Debian package"
  [ -s $lab/huddled.deb ] || { bad "there is no package: LAB_DEB says where it is (make deb)"; return; }
  systemctl stop huddled
  dpkg -i $lab/huddled.deb 2>&1 | tail -n 3
  check "it is installed" [ "$(dpkg-query -W -f='${db:Status-Status}' huddled)" = installed ]
  # The guest leaves documents and manual pages out.
  check "as it was packed" not grep -qvE ' /usr/share/(doc|man)/' <(dpkg -V huddled)
  install -m 755 /usr/bin/huddlectl /run/bin/huddlectl
  within 60 "A answers" status a .version
  within 30 "it was started by the package" systemctl is-active huddled
  check "of what the package brought" [ "$(readlink "/proc/$(property MainPID)/exe")" = /usr/bin/huddled ]
  /usr/bin/huddled --version
}

# publish VERSION TEXT: as docs/remote.md says.
publish() {
  printf '%b' "$2" > /run/web/files/room-7.toml
  minisign -S -s /run/web/boxes.key -m /run/web/files/room-7.toml -t "version:$1 box:room-7" > /dev/null
}
fetched() { /run/bin/huddlectl --socket /run/huddled/control.sock fetch 2>&1 | tee /run/web/said | grep -q -- "$1"; }
in_use() { health a ".remote.version == $1 and .remote.on_trial == false"; }
seen_as() { health b ".peers_in[0].video | .width == $1 and .height == $2"; }

step_remote() {
  part "managed from elsewhere"
  ready
  local web=/run/web once
  mkdir -p $web/files /etc/huddled/conf.d
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout $web/key.pem -out $web/cert.pem -days 2 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost 2> /dev/null
  minisign -G -W -f -p $web/boxes.pub -s $web/boxes.key > /dev/null
  cat > $web/nginx.conf <<END
user root;
pid $web/pid;
error_log stderr;
events {}
http {
  access_log $web/access.log;
  server { listen 127.0.0.1:8443 ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; root $web/files; }
}
END
  nginx -c $web/nginx.conf || bad "nginx"
  install -m 644 $web/cert.pem /etc/huddled/ca.pem
  cat > /etc/huddled/conf.d/remote.toml <<END
[box]
id = "room-7"
[remote]
url = "https://localhost:8443/{id}.toml"
key = "$(sed -n 2p $web/boxes.pub)"
ca_file = "/etc/huddled/ca.pem"
interval_ms = 3600000
probation_ms = 30000
END
  publish 1 '[box]\napply = "now"\n'
  systemctl restart --no-block huddled
  within 60 "version 1 is applied and has stood its trial" in_use 1
  check "its signature is minisign's own" minisign -V -p $web/boxes.pub -m /var/lib/huddled/remote/[0-9a-f]*.toml
  within 60 "A is in its meeting" status a "$good"
  within 30 "B sees pictures of 320x180" seen_as 320 180

  once=$(figure b '.connections[0].generation')
  publish 2 '[box]\napply = "now"\n[video]\nwidth = 160\nheight = 90\n'
  check "another size is tried in the meeting" fetched "version 2"
  within 30 "B sees pictures of 160x90" seen_as 160 90
  within 60 "version 2 has stood its trial" in_use 2
  check "over the same connection" [ "$(figure b '.connections[0].generation')" = "$once" ]

  publish 3 '[panel]\nbackend = "none"\n'
  check "a file that says too much is rejected" fetched "may not set panel.backend"
  cat $web/said
  publish 3 '[box]\nname = "Room 8"\n'
  echo '#' >> $web/files/room-7.toml
  check "and one that was changed after it was signed" fetched "refused"
  check "version 2 stays" in_use 2
  check "in the meeting" status a .connected_peers==1

  mark
  publish 4 '[box]\napply = "now"\n[signaling]\nurl = "http://10.0.2.2:9"\n'
  check "one that leads nowhere is tried" fetched "version 4"
  within 90 "and taken back" in_use 2
  within 10 "which the journal tells" told "version 4 was taken back"
  tail -n +$((marked + 1)) $lab/logs/a | grep -m 1 "taken back"
  within 60 "A is back in its meeting" status a .connected_peers==1 || a status
  # docs/security.md: another server begins closed, and this one was another to where it had been.
  within 10 "closed, until somebody presses" status a '.microphone.muted and .camera.off'
  tap 0
  tap 1
  within 30 "presses open both" status a "$good" || a status
  within 30 "B sees it as version 2 says" seen_as 160 90
  check "version 4 is not tried again" fetched "not tried again until its bytes change"

  kill "$(cat $web/pid)"
  rm /etc/huddled/conf.d/remote.toml /etc/huddled/ca.pem
  systemctl restart --no-block huddled
  within 60 "without it A is its own again" status a "$good" || a status
  within 30 "and B sees pictures of 320x180" seen_as 320 180
}
