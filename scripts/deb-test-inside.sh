# Runs in the container of deb-test.sh as root, under systemd. Waits for what takes time; its last line is the verdict.
set -u
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
. /proxy.sh
failures=0
begun=$SECONDS

ok() { echo "ok    $* ($((SECONDS - begun)) s)"; }
bad() { echo "FAIL  $*"; failures=$((failures + 1)); }
check() { # "what" command...
  local what=$1
  shift
  if "$@" >/tmp/said 2>&1; then ok "$what"; else bad "$what"; tail -n 5 /tmp/said; fi
}
within() { # SECONDS "what" command...
  local limit=$1 what=$2 from=$SECONDS
  shift 2
  until "$@" >/tmp/said 2>&1; do
    [ $((SECONDS - from)) -lt "$limit" ] || { bad "$what (not within $limit s)"; tail -n 5 /tmp/said; return 1; }
    sleep 0.2
  done
  ok "$what, after $((SECONDS - from)) s"
}
shows() { systemctl show -P "$1" "${2:-huddled}"; }
is() { [ "$1" = "$2" ] || { echo "$1, not $2"; return 1; }; }
status() { huddlectl --json status | grep -q "$1"; }
muted() { huddlectl --json status | grep -o '"microphone":{[^}]*}' | tee /dev/stderr | grep -q '"muted":true'; }
drop_in() { # UNIT LINE...: overrides settings of a unit until it is reset
  local unit=$1
  shift
  mkdir -p "/run/systemd/system/$unit.service.d"
  printf '%s\n' '[Service]' "$@" >"/run/systemd/system/$unit.service.d/test.conf"
  systemctl daemon-reload
}
# The box's main process ignores SIGTERM (15).
ignores_term() { (( 0x$(awk '/^SigIgn:/ { print $2 }' "/proc/$(shows MainPID)/status") & 1 << 14 )); }
# Neither the box nor what starts it again is there, or on the way.
left_alone() { ! systemctl list-jobs --no-legend | grep huddled && ! systemctl is-active huddled huddled-failed; }
reset() { rm -rf /run/systemd/system/huddled*.service.d; systemctl daemon-reload; }
# Files that are there and that no package knows.
strays() {
  find / -xdev \( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /dev -o -path /var/cache -o -path /var/log \
    -o -path /var/lib/apt -o -path /var/lib/dpkg -o -path /var/tmp \) -prune -o -print | sort
}
accounts() { cut -d: -f1,4 /etc/group | sort; cut -d: -f1 /etc/passwd | sort; }

apt-get update -qq || bad "apt-get update"
# Dependencies stay when the package goes; they are no matter here.
apt-get install -y -qq --no-install-recommends libasound2 libssl3 adduser nginx-light minisign openssl >/dev/null 2>&1 || bad "dependencies"
systemctl disable --now nginx >/dev/null 2>&1
strays >/tmp/before
accounts >/tmp/accounts

echo "== installing"
check "apt-get install" apt-get install -y -qq --no-install-recommends /old.deb
within 30 "it runs" systemctl is-active huddled
check "and is enabled" systemctl is-enabled huddled
within 20 "unconfigured" status '"state":"unconfigured"'
shows StatusText
check "as the user huddled" is "$(ps -o user= -p "$(shows MainPID)")" huddled
for group in audio video input gpio; do
  check "in the group $group" grep -qw "$(getent group $group | cut -d: -f3)" <(grep ^Groups: "/proc/$(shows MainPID)/status")
done
check "without capabilities" grep -q '^CapEff:.*0000000000000000' "/proc/$(shows MainPID)/status"
check "the hub is not started" is "$(systemctl is-active huddled-hub)" inactive
check "nor enabled" is "$(systemctl is-enabled huddled-hub)" disabled
check "the socket is the group's" is "$(stat -c '%a %G' /run/huddled/control.sock)" "660 huddled"
systemd-analyze security huddled --no-pager | tail -n 1
for page in huddled huddled-safe-state huddlectl; do
  check "man page $page" test -s "/usr/share/man/man1/$page.1.gz" -o -s "/usr/share/man/man1/$page.1"
done
check "guest page" test -s /usr/share/huddled/guest/index.html
check "safe-state refuses while the daemon runs" sh -c '! huddled safe-state'
check "reload" systemctl reload huddled
within 10 "which the journal tells" sh -c 'journalctl -u huddled | grep -q "read again"'

echo "== two users"
printf '[hub]\nlisten = "127.0.0.1:8099"\n' >/etc/huddled/conf.d/hub.toml
check "the hub starts" systemctl start huddled-hub
within 20 "and has a key" test -s /var/lib/huddled-hub/hub-key
check "as a user of its own" is "$(ps -o user:32= -p "$(shows MainPID huddled-hub)")" huddled-hub
check "which is in no other group" is "$(id -Gn huddled-hub)" huddled-hub
as() { runuser -u "$1" -- "${@:2}"; }
seen_by() { ls -A "/proc/$(shows MainPID "$1")/root$2"; }
runs_in() { nsenter --mount --target "$(shows MainPID "$1")" -- "${@:2}"; }
refused() { ! "$@"; }
check "the box's state is closed to the hub" refused as huddled-hub ls /var/lib/huddled
check "and its control socket" refused as huddled-hub huddlectl status
check "the hub's key is closed to the box" refused as huddled cat /var/lib/huddled-hub/hub-key
check "the box's unit sees nothing of the hub's state" is "$(seen_by huddled /var/lib/huddled-hub)" ""
check "nor the hub's unit of the box's" is "$(seen_by huddled-hub /var/lib/huddled)$(seen_by huddled-hub /run/huddled)" ""
for unit in huddled huddled-hub; do
  check "$unit may start its program" runs_in $unit /usr/bin/huddled --version
  for program in /bin/sh /bin/true /usr/bin/huddlectl; do
    check "$unit may not start $program" refused runs_in $unit $program --version
  done
  systemd-analyze security $unit --no-pager | tail -n 1
  check "$unit is exposed by 1.5 at most" systemd-analyze security $unit --no-pager --threshold=15
done

echo "== settings, mute state and keys over an upgrade"
# As version 0.1 left it: the hub's state belongs to the box's user. The link is what somebody may have put there.
systemctl stop huddled-hub
hub=/var/lib/huddled-hub
key=$(sha256sum <$hub/hub-key)
userdel huddled-hub
mkdir $hub/folder
echo 1 >$hub/folder/file
chown -R huddled:huddled $hub
as huddled ln -s /etc/shadow $hub/link
as huddled ln -s /etc $hub/folder/link
shadow=$(stat -c '%U:%G %a' /etc /etc/shadow)
cat >/etc/huddled/config.toml <<'CONFIG'
[box]
name = "Room 7"
CONFIG
check "restart" systemctl restart huddled
within 20 "it answers" status '"state":"unconfigured"'
check "mute" huddlectl mute
within 10 "muted" muted
before=$(shows MainPID)
check "apt-get install of the next version" apt-get install -y -qq --no-install-recommends /new.deb
within 30 "another process runs" sh -c "[ \"\$(systemctl show -P MainPID huddled)\" != $before ] && systemctl is-active huddled"
within 20 "still muted" muted
check "the hub's key is handed over" is "$(stat -c '%U:%G %a' $hub/hub-key) $(sha256sum <$hub/hub-key)" "huddled-hub:huddled-hub 600 $key"
check "and all else that was there" is "$(find $hub -not -user huddled-hub -o -not -group huddled-hub)" ""
check "but not where links lead to" is "$(stat -c '%U:%G %a' /etc /etc/shadow)" "$shadow"
check "the hub goes on" systemctl start huddled-hub
within 20 "with the key it had" sh -c "systemctl is-active huddled-hub && [ \"\$(sha256sum <$hub/hub-key)\" = '$key' ]"
rm -r $hub/link $hub/folder /etc/huddled/conf.d/hub.toml
systemctl stop huddled-hub
check "settings are kept" sh -c 'huddled config show | grep -q "Room 7"'

echo "== managed from elsewhere, by nginx with TLS and minisign"
web=/tmp/web
mkdir -p $web/files /etc/huddled/conf.d
openssl req -x509 -newkey rsa:2048 -nodes -keyout $web/key.pem -out $web/cert.pem -days 2 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost 2>/dev/null
minisign -G -W -f -p $web/boxes.pub -s $web/boxes.key >/dev/null
# Beside the files it stands for a signaling server that answers, but has no meeting.
cat >$web/nginx.conf <<'NGINX'
user root;
pid /tmp/web/pid;
error_log stderr;
events {}
http {
  access_log /tmp/web/access.log;
  server { listen 127.0.0.1:8443 ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem; root /tmp/web/files; }
  server { listen 127.0.0.1:8080; return 503; }
}
NGINX
nginx -c $web/nginx.conf || bad "nginx"
publish() { # VERSION TEXT
  printf '%b' "$2" >$web/files/room-7.toml
  minisign -S -s $web/boxes.key -m $web/files/room-7.toml -t "version:$1" >/dev/null
}
said() { huddlectl fetch 2>&1 | tee /dev/stderr | grep -q -- "$1"; }
in_use() { # VERSION ON_TRIAL
  huddlectl --json health | grep -o '"remote":{[^}]*}' | tee /tmp/remote
  grep -q "\"version\":$1[,}]" /tmp/remote && grep -q "\"on_trial\":$2" /tmp/remote
}
shown() { huddled config show --state-dir /var/lib/huddled | grep -q -- "$1"; }
install -m 644 $web/cert.pem /etc/huddled/ca.pem
cat >/etc/huddled/conf.d/remote.toml <<CONFIG
[box]
id = "room-7"
[signaling]
url = "http://127.0.0.1:8080"
meeting = "2f1c9a52-6a55-4d0b-9d0f-0c1f3a1f7a11"
user = "c0a8a7b2-51a4-4f0e-8a4d-5e6f7a8b9c0d"
[remote]
url = "https://localhost:8443/{id}.toml"
key = "$(sed -n 2p $web/boxes.pub)"
ca_file = "/etc/huddled/ca.pem"
interval_ms = 3600000
probation_ms = 10000
CONFIG
publish 1 '[box]\nname = "Room 7, from afar"\n'
check "restart with it" systemctl restart huddled
within 90 "version 1 is applied and stands its trial" in_use 1 false
check "its name" shown "Room 7, from afar"
check "the signature is minisign's own" sh -c "minisign -V -p $web/boxes.pub -m /var/lib/huddled/remote/[0-9a-f]*.toml"
publish 2 '[panel]\nbackend = "none"\n'
check "a file that says too much is rejected" said "a remote file may not set panel.backend"
publish 2 '[box]\nname = "Room 8"\n'
echo '#' >>$web/files/room-7.toml
check "and one that was changed after it was signed" said "refused"
check "version 1 stays" in_use 1 false
publish 3 '[signaling]\nurl = "http://127.0.0.1:9"\n'
check "one that leads nowhere is tried" said "version 3 is on trial"
within 120 "and reverted" in_use 1 false
check "which the journal tells" sh -c 'journalctl -u huddled -o cat | grep "version 3 was taken back"'
journalctl -u huddled -o cat | grep "version 3 was taken back" | tail -n 1
check "it is not tried again" said "not tried again until its bytes change"
check "the name is still that of version 1" shown "Room 7, from afar"
kill "$(cat $web/pid)"
rm /etc/huddled/conf.d/remote.toml /etc/huddled/ca.pem
systemctl restart huddled
within 20 "without it the box is its own again" status '"state":"unconfigured"'

echo "== killed, hung, failing"
kill -9 "$(shows MainPID)"
within 20 "killed it comes back" sh -c '[ "$(systemctl show -P NRestarts huddled)" = 1 ] && huddlectl status'
within 20 "still muted" muted
check "safe-state ran at its end" sh -c 'journalctl -u huddled | grep -q "lights to make safe"'
kill -STOP "$(shows MainPID)"
# Some 45 s where the machine is not busy.
within 240 "hung it is started again by the watchdog" sh -c '[ "$(systemctl show -P NRestarts huddled)" -ge 2 ] && huddlectl status'
reset
deaf="/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'"
drop_in huddled NoExecPaths= Type=exec WatchdogSec=0 TimeoutStopSec=2 ExecStart= "ExecStart=$deaf"
check "one that hears no order to end" systemctl restart huddled
within 20 "it ignores it" ignores_term
check "is restarted when it is told to" systemctl restart huddled
check "which is no failure that is shown" is "$(systemctl is-active huddled huddled-failed | tr '\n' ' ')" "active inactive "
within 20 "it ignores it again" ignores_term
systemctl stop huddled
check "stopped, it counts as failed" is "$(shows ActiveState) $(shows Result)" "failed timeout"
within 20 "but is not wanted any more" sh -c '[ "$(systemctl show -P Result huddled-failed)" = exec-condition ]'
check "so nothing starts it again" left_alone
reset
check "until somebody does" systemctl start huddled
within 20 "it answers" status '"state":"unconfigured"'
drop_in huddled NoExecPaths= ExecStart= ExecStart=/bin/false
systemctl restart huddled 2>/dev/null
within 60 "crashing again and again it shows that it has failed" systemctl is-active huddled-failed
check "at the start limit" sh -c 'journalctl -u huddled | grep -q "Start request repeated too quickly"'
journalctl -u huddled-failed -o cat | tail -n 2
# The time for which it is shown, shortened.
drop_in huddled-failed RuntimeMaxSec=3
mkdir -p /run/systemd/system/huddled.service.d
printf '[Unit]\nStartLimitIntervalSec=2\n' >/run/systemd/system/huddled.service.d/test.conf
systemctl daemon-reload
within 60 "then the box is tried again" status '"state":"unconfigured"'
check "and failed is shown no more" sh -c '! systemctl is-active huddled-failed'
drop_in huddled NoExecPaths= ExecStart= ExecStart=/bin/false
systemctl restart huddled 2>/dev/null
within 60 "failed once more" systemctl is-active huddled-failed
check "a stop meanwhile" systemctl stop huddled
check "ends that, too" left_alone
reset
echo 'nonsense = 1' >/etc/huddled/config.toml
systemctl restart huddled
within 20 "a wrong file is replaced by the last good copy" sh -c 'journalctl -u huddled | grep -q "configuration refused" && huddlectl status'

echo "== removing"
check "apt-get remove" apt-get remove -y -qq huddled
check "it is gone" sh -c '! pgrep -x huddled && ! systemctl is-active huddled'
check "settings and state stay" test -s /etc/huddled/config.toml -a -d /var/lib/huddled
check "apt-get purge" apt-get purge -y -qq huddled
strays >/tmp/after
check "purged nothing is left" sh -c 'comm -13 /tmp/before /tmp/after | tee /tmp/left; [ ! -s /tmp/left ]'
accounts >/tmp/accounts.after
check "nor users and groups" diff /tmp/accounts /tmp/accounts.after
journalctl -p err -u huddled -u huddled-failed -o cat | sort | uniq -c | head -n 20
echo "checked in $((SECONDS - begun)) s, $(. /etc/os-release; echo "$PRETTY_NAME"), $(systemctl --version | head -n 1)"
[ "$failures" = 0 ] && echo passed || echo "FAILED: $failures"
