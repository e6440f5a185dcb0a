//! Whatever happens: a box that runs, and says what it runs.

use super::*;

/// A box without a meeting, which needs no server to be content with a file.
fn managed(name: &str) -> Managed {
    let mut setup = Setup::new(name);
    setup.expected_errors = vec!["remote configuration"];
    Managed::new(setup)
}

#[test]
fn what_is_wrong_with_a_file_is_told_and_the_last_one_stays() {
    let mut managed = managed("wrong");
    let good = "[box]\nname = 'good'\n";
    managed.publish(5, good);
    let mut daemon = managed.start();
    daemon.until_version(5, true);
    let old = managed.signer.sign(good.as_bytes(), "version:4");
    let whole = managed.signer.sign(b"[box]\nname = 'newer'\n", "version:6");
    let refused = |content: &[u8], signature: &[u8], reason: &str| {
        managed.place(content, signature);
        let said = daemon.fetch();
        assert!(said.contains(reason), "{reason}: {said}");
        assert!(
            said.trim_end().ends_with("version 5 stays in use"),
            "{said}"
        );
        until(reason, || {
            let banner = daemon.banner();
            banner.contains(reason).then_some(()).ok_or(banner)
        });
        assert!(daemon.shown(&[]).contains("name = \"good\""));
    };
    let newer = b"[box]\nname = 'newer'\n";
    refused(good.as_bytes(), &old, "version 4 is older than version 5");
    let same = managed.signer.sign(newer, "version:5");
    refused(newer, &same, "version 5 is in use with other bytes");
    refused(
        newer,
        &managed.signer.sign(newer, "nothing"),
        "names no version",
    );
    refused(
        newer,
        &managed.signer.sign(newer, "version:6 box:room-7"),
        "for another box",
    );
    let other = Signer::new(daemon.setup.path("admin"), "b");
    refused(
        newer,
        &other.sign(newer, "version:6"),
        "signed with another key",
    );
    for length in (0..newer.len()).step_by(5) {
        refused(&newer[..length], &whole, "does not fit");
    }
    for length in (0..whole.len()).step_by(60) {
        refused(newer, &whole[..length], "no signature of minisign");
    }
    for text in [
        "[hub]\naccess = 'open'\n[remote]\nkey = []\n",
        "[panel]\nbackend = 'none'\n[control]\nhttp = '0.0.0.0:80'\n",
        "[box]\nstate_dir = '/tmp'\nfirst_start = 'open'\n",
        "[camera]\ndevice = 'sim:testcard'\n",
        "[signaling]\nca_file = 'x'\n",
        "[signaling]\ninsecure_http = true\n",
    ] {
        let signature = managed.signer.sign(text.as_bytes(), "version:6");
        refused(text.as_bytes(), &signature, "a remote file may not set");
        let banner = daemon.banner();
        for line in text.lines().filter(|line| line.contains('=')) {
            assert!(
                banner.contains(line.split(' ').next().unwrap()),
                "{line}: {banner}"
            );
        }
    }
    for (text, reason) in [
        ("[box]\nnmae = 'x'\n", "box.nmae"),
        ("[video]\nwidth = 641\n", "video.width"),
        ("[box", "line 1"),
        (
            "[speaker]\ndevice = \"tee:null,'|id',raw\"\n",
            "speaker.device",
        ),
        ("[signaling]\nurl = 'http://10.0.0.1:9'\n", "signaling.url"),
        ("[camera]\ndevice = '/etc/passwd'\n", "camera.device"),
    ] {
        let signature = managed.signer.sign(text.as_bytes(), "version:6");
        refused(text.as_bytes(), &signature, reason);
    }
    // In the end a right one.
    managed.place(newer, &whole);
    assert_eq!(daemon.fetch(), "version 6 is on trial\n");
    daemon.until("no complaint", |snapshot| snapshot["banner"] == Value::Null);
    assert!(daemon.shown(&[]).contains("name = \"newer\""));
    daemon.stop(libc::SIGTERM);
}

#[test]
fn a_flipped_byte_is_noticed_on_the_way_and_on_the_disk() {
    let mut managed = managed("flipped");
    let text = b"[box]\nname = 'good'\n".to_vec();
    let signature = managed.signer.sign(&text, "version:1");
    managed.place(&text, &signature);
    let mut daemon = managed.start();
    daemon.until_version(1, true);
    let next = b"[box]\nname = 'next'\n".to_vec();
    let signature = managed.signer.sign(&next, "version:2");
    // The first line of a signature is a remark that nobody signs.
    let first = signature.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let mut tried = 0;
    for at in (0..next.len()).step_by(3) {
        let mut flipped = next.clone();
        flipped[at] ^= 1 << (at % 7);
        managed.place(&flipped, &signature);
        let said = daemon.fetch();
        assert!(said.contains("refused"), "{at}: {said}");
        tried += 1;
    }
    for at in (first..signature.len()).step_by(13) {
        let mut flipped = signature.clone();
        flipped[at] ^= 1 << (at % 5);
        if signature[at] == b'\n' || flipped[at] == b'\n' {
            continue;
        }
        managed.place(&next, &flipped);
        let said = daemon.fetch();
        assert!(
            said.contains("refused") || said.contains("no text"),
            "{at}: {said}"
        );
        tried += 1;
    }
    println!("{tried} flipped bytes were noticed");

    // On the disk, after a power cut.
    managed.web.behave(Manner::Broken);
    let folder = daemon.setup.path("state/remote");
    for end in [".toml", ".minisig"] {
        daemon.kill();
        let kept = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let victim = kept
            .filter(|path| !path.ends_with("record.toml"))
            .find(|path| path.to_str().unwrap().ends_with(end))
            .unwrap();
        let whole = fs::read(&victim).unwrap();
        let mut flipped = whole.clone();
        flipped[whole.len() / 2] ^= 2;
        fs::write(&victim, &flipped).unwrap();
        daemon.spawn_as_it_is();
        daemon.until("a complaint", |snapshot| {
            let banner = snapshot["banner"].as_str().unwrap_or_default();
            banner.contains("remote configuration refused: ") && banner.ends_with("it is left out")
        });
        fs::write(&victim, &whole).unwrap();
    }
    daemon.kill();
    fs::write(folder.join("record.toml"), "torn").unwrap();
    daemon.spawn_as_it_is();
    daemon.until("a complaint", |snapshot| {
        let banner = snapshot["banner"].as_str().unwrap_or_default();
        banner.contains("what is remembered of the remote configuration cannot be used")
    });
    // The next file puts it right.
    managed.web.behave(Manner::Well);
    managed.publish(3, "[box]\nname = 'healed'\n");
    assert_eq!(daemon.fetch(), "version 3 is on trial\n");
    daemon.until("no complaint", |snapshot| snapshot["banner"] == Value::Null);
    daemon.stop(libc::SIGTERM);
}

#[tokio::test]
async fn a_damaged_file_on_trial_gives_way_to_the_last_good_one() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut setup = member(&gateway, 0);
    setup.expected_errors = vec!["remote configuration"];
    let mut managed = Managed::new(setup);
    managed.publish(1, "[box]\nname = 'good'\n");
    let mut daemon = managed.start();
    daemon.until_version(1, false);
    // On trial for as long as it takes: nobody listens there.
    managed.publish(
        2,
        "[box]\nname = 'next'\n[signaling]\nurl = 'http://127.0.0.1:9'\n",
    );
    assert_eq!(daemon.fetch(), "version 2 is on trial\n");
    managed.web.behave(Manner::Broken);
    daemon.kill();
    let victim = fs::read_dir(daemon.setup.path("state/remote"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| fs::read_to_string(path).unwrap().contains("name = 'next'"))
        .unwrap();
    fs::write(&victim, "").unwrap();
    daemon.spawn_as_it_is();
    daemon.until("the meeting", |snapshot| {
        let banner = snapshot["banner"].as_str().unwrap_or_default();
        snapshot["signaling"]["state"] == "joined"
            && banner.contains("the file was changed; version 1 is used instead")
    });
    // Neither the start nor the meeting has made the damaged one the last good one.
    daemon.until_version(1, false);
    assert!(daemon.shown(&[]).contains("name = \"good\""));
    // The settings themselves are not to blame, so they are tried once they are here again.
    managed.web.behave(Manner::Well);
    assert_eq!(daemon.fetch(), "version 2 is on trial\n");
    daemon.stop(libc::SIGTERM);
}

#[tokio::test]
async fn a_file_that_is_signed_anew_is_in_use_at_once() {
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut setup = member(&gateway, 0);
    setup.expected_errors = vec!["remote configuration"];
    let mut managed = Managed::new(setup);
    let text = "[box]\nname = 'far away'\n";
    managed.publish(1, text);
    let mut daemon = managed.start();
    daemon.until_version(1, false);
    // The key is taken away before the box has seen the file under the other one.
    managed.web.behave(Manner::Broken);
    let other = Signer::new(daemon.setup.path("admin"), "b");
    managed.trust(&daemon.setup, &[&other], 3_600_000);
    daemon.until("the file to be left out", |snapshot| {
        let banner = snapshot["banner"].as_str().unwrap_or_default();
        banner.contains("signed with another key") && banner.ends_with("it is left out")
    });
    managed.place(text.as_bytes(), &other.sign(text.as_bytes(), "version:1"));
    managed.web.behave(Manner::Well);
    assert_eq!(daemon.fetch(), "version 1 is in use already\n");
    daemon.until("no complaint", |snapshot| snapshot["banner"] == Value::Null);
    assert!(daemon.shown(&[]).contains("name = \"far away\""));
    daemon.stop(libc::SIGTERM);
}

#[test]
fn a_server_that_behaves_badly_costs_nothing() {
    let mut managed = managed("server");
    managed.publish(1, "[box]\nname = 'good'\n");
    let mut daemon = managed.start();
    daemon.until_version(1, true);
    managed.publish(2, "[box]\nname = 'next'\n");
    let failed = |reason: &str| {
        let begun = Instant::now();
        let said = daemon.fetch();
        println!("{reason}: {:.1} s", begun.elapsed().as_secs_f64());
        assert!(said.contains(reason), "{reason}: {said}");
        assert_eq!(daemon.health()["remote"]["version"], 1);
    };
    for (manner, reason) in [
        (Manner::Broken, "the server answers 503"),
        (Manner::Circles, "too many redirects"),
        (Manner::Plain, "URL scheme is not allowed"),
        (Manner::Endless, "it is longer than 4096 bytes"),
        (Manner::Silent, "timed out"),
    ] {
        managed.web.behave(manner);
        failed(reason);
    }
    managed.web.behave(Manner::Well);
    let large = vec![b'#'; 300_000];
    managed.place(&large, &managed.signer.sign(&large, "version:2"));
    failed("it is longer than 262144 bytes");
    managed.publish(2, "[box]\nname = 'next'\n");
    managed.web.present(Certificate::Past);
    failed("the server's certificate has expired; renew it, or set the clock of this box");
    // What a box sees whose clock starts before the certificate's time.
    managed.web.present(Certificate::Future);
    failed("the clock of this box is most likely wrong: it says 20");
    managed.web.present(Certificate::Now);
    assert_eq!(daemon.fetch(), "version 2 is on trial\n");
    daemon.stop(libc::SIGTERM);
}

/// The whole folder of the state, as it is.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The lines of the trace that tell of a step of the remote file's or of the accepted copy's, the one that has begun too.
fn steps(trace: &std::path::Path) -> Vec<String> {
    let text = fs::read(trace).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter(|line| line.contains("/state/remote") || line.contains("/state/accepted"))
        .map(str::to_owned)
        .collect()
}

/// SIGKILL at each step that reaches the disk, from the first byte of a file to the copy of what was accepted: strace(1)
/// holds up each sync, rename and removal of the real program as it begins, and the kill comes while the n-th is held.
#[tokio::test]
async fn a_kill_at_any_step_of_taking_a_file_leaves_a_box_that_runs() {
    const STEPS: &str = "fsync,?rename,?renameat,?renameat2,?unlink,?unlinkat";
    const HELD: Duration = Duration::from_millis(150);
    let gateway = Gateway::start(&["--open-meeting"]);
    let mut setup = member(&gateway, 0);
    setup.expected_errors = vec!["remote configuration"];
    let mut managed = Managed::new(setup);
    managed.publish(1, "[box]\nname = 'version 1'\n");
    let mut daemon = managed.start();
    daemon.until_version(1, false);
    daemon.until_kept("version 1");
    daemon.stop(libc::SIGTERM);
    let (state, before) = (daemon.setup.path("state"), daemon.setup.path("before"));
    copy(&state, &before);
    managed.publish(2, "[box]\nname = 'version 2'\n");
    let trace = daemon.setup.path("trace");
    let held = [
        "strace",
        "-D",
        "-f",
        "-y",
        "-qqq",
        "--seccomp-bpf",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        &format!("trace={STEPS}"),
        "-e",
        &format!("inject={STEPS}:delay_enter={}", HELD.as_micros()),
    ];
    let held: Vec<_> = held.map(Into::into).to_vec();
    // How each step ended: what it was, and the version that the box went on with.
    let mut killed: Vec<(String, u64)> = Vec::new();
    let mut missed = 0;
    loop {
        let wanted = killed.len() + 1;
        copy(&before, &state);
        daemon.setup.wrapper.clone_from(&held);
        managed.web.behave(Manner::Broken);
        daemon.spawn_as_it_is();
        daemon.until_version(1, false);
        daemon.until("the meeting", |snapshot| {
            snapshot["signaling"]["state"] == "joined"
        });
        // What the start itself wrote.
        let from = steps(&trace).len();
        managed.web.behave(Manner::Well);
        let mut look = daemon.begin(&["fetch"]);
        let deadline = Instant::now() + PATIENCE;
        let mut through = None;
        while steps(&trace).len() < from + wanted {
            assert!(Instant::now() < deadline, "{killed:?}");
            // Nothing more to come once the accepted copy has been there for a while.
            let copied = fs::read_to_string(daemon.setup.path("state/accepted.toml"));
            if copied.is_ok_and(|text| text.contains("version 2")) {
                let since = *through.get_or_insert_with(Instant::now);
                if since.elapsed() > Duration::from_secs(2) {
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(3));
        }
        daemon.kill();
        look.wait().unwrap();
        managed.web.behave(Manner::Broken);
        let mut begun = steps(&trace).split_off(from);

        daemon.setup.wrapper.clear();
        daemon.spawn_as_it_is();
        let health =
            daemon.until_health("a version", |health| health["remote"]["version"].is_u64());
        let version = health["remote"]["version"].as_u64().unwrap();
        let shown = daemon.shown(&[]);
        assert!(
            shown.contains(&format!("name = \"version {version}\"")),
            "{shown}"
        );
        assert_eq!(daemon.banner(), "", "killed in {begun:?}");
        daemon.kill();
        if begun.len() < wanted {
            break;
        }
        if begun.len() > wanted {
            // This process was not woken in time; the step is tried again.
            missed += 1;
            assert!(missed < 20, "{killed:?}");
            continue;
        }
        killed.push((begun.remove(wanted - 1), version));
    }
    for (number, (step, version)) in killed.iter().enumerate() {
        println!("killed in step {}: version {version}; {step}", number + 1);
    }
    println!("{missed} kills came too late and were repeated");
    let versions: Vec<_> = killed.iter().map(|(_, version)| *version).collect();
    assert!(versions.is_sorted(), "{versions:?}");
    assert!(
        versions.first() == Some(&1) && versions.last() == Some(&2),
        "{versions:?}"
    );
    // Three files of three steps each, what they replace, and the copy.
    assert!(killed.len() >= 12, "{killed:?}");
}

/// A state directory of its own that is too small.
#[test]
fn a_full_disk_changes_nothing_and_is_told() {
    let mut managed = managed("full");
    let setup = managed.setup.as_mut().unwrap();
    setup.expected_errors = vec!["remote configuration", "no copy of the accepted"];
    let state = setup.path("state");
    fs::create_dir_all(&state).unwrap();
    let mount = format!(
        "mount -t tmpfs -o size=64k none {} && exec \"$@\"",
        state.display()
    );
    // Root mounts as itself; anybody else as root of a namespace.
    let as_root: &[&str] = match fs::metadata("/proc/self").unwrap().uid() == 0 {
        true => &[],
        false => &["--map-root-user"],
    };
    setup.wrapper = [
        &["unshare", "--mount"],
        as_root,
        &["sh", "-c", &mount, "sh"],
    ]
    .concat()
    .into_iter()
    .map(Into::into)
    .collect();
    managed.publish(1, "[box]\nname = 'version 1'\n");
    let mut daemon = managed.start();
    daemon.until_version(1, true);
    let inside = format!("/proc/{}/root{}", daemon.pid(), state.display());
    let filler = std::path::Path::new(&inside).join("filler");
    let error = fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    managed.publish(
        2,
        &format!("[box]\nname = 'version 2'\n{}", "# long\n".repeat(1000)),
    );
    let said = daemon.fetch();
    assert!(
        said.contains("cannot be written: No space left on device"),
        "{said}"
    );
    assert_eq!(daemon.health()["remote"]["version"], 1);
    fs::remove_file(&filler).unwrap();
    assert_eq!(daemon.fetch(), "version 2 is on trial\n");
    daemon.until_version(2, true);
    daemon.stop(libc::SIGTERM);
}
