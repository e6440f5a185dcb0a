//! Several files as one configuration: what each contributes, who is blamed, what stands in for a refused one.

use huddled::config::{
    Candidate, Chosen, ConfigError, Effective, Instead, Layer, Source, choose, merge,
};

use super::*;

const VENDOR: &str = "/usr/share/huddled/config.toml";
const OWN: &str = FILE;
const ADDED: &str = "/etc/huddled/conf.d/10-turn.toml";

fn layer(file: &str, text: &str) -> Layer {
    Layer {
        file: file.into(),
        text: text.to_owned(),
        source: Source::Own,
    }
}

fn merged(layers: &[(&str, &str)]) -> Result<Effective, ConfigError> {
    let layers: Vec<_> = layers
        .iter()
        .map(|(file, text)| layer(file, text))
        .collect();
    merge(&layers)
}

#[test]
fn tables_merge_lists_replace_and_the_later_file_wins() {
    let effective = merged(&[
        (
            VENDOR,
            "[box]\nname = 'vendor'\n[video]\nwidth = 640\nheight = 360\n[recovery]\nrecreate_ms = [1, 2, 3]\n\
             [[ice_servers]]\nurls = 'stun:vendor.example'\n[panel.buttons.mic]\nline = 1\n",
        ),
        (
            OWN,
            "[video]\nwidth = 320\n[recovery]\nrecreate_ms = [500]\n[panel]\nbuttons.mic.active_low = true\n",
        ),
        (ADDED, "[[ice_servers]]\nurls = 'stun:added.example'\n"),
    ])
    .unwrap();
    let settings = effective.settings;
    assert_eq!(settings.name, "vendor");
    assert_eq!((settings.video.width, settings.video.height), (320, 360));
    assert_eq!(settings.recovery.recreate, [Duration::from_millis(500)]);
    assert_eq!(settings.ice_servers.len(), 1);
    assert_eq!(settings.ice_servers[0].urls, ["stun:added.example"]);
    let button = settings.panel.buttons[0].as_ref().unwrap();
    assert_eq!((button.line.as_str(), button.active_low), ("1", true));

    for (key, expected) in [
        ("box.name", Some((VENDOR, 2))),
        ("video.width", Some((OWN, 2))),
        ("video.height", Some((VENDOR, 5))),
        ("ice_servers[0].urls", Some((ADDED, 2))),
        ("panel.buttons.mic.active_low", Some((OWN, 6))),
        ("audio.bitrate", None),
    ] {
        let expected = expected.map(|(file, line)| (Path::new(file), line));
        assert_eq!(effective.origins.of(key), expected, "{key}");
    }
}

#[test]
fn no_file_at_all_is_the_default() {
    assert_eq!(merge(&[]).unwrap().settings, Settings::default());
}

#[test]
fn a_relative_path_starts_from_the_folder_of_the_file_that_says_it() {
    let effective = merged(&[
        (
            VENDOR,
            "[camera]\ndevice = 'sim:file:a.y4m'\n[hub]\npages = 'guest'\n",
        ),
        (
            OWN,
            "[signaling]\nurl = 'https://a'\nmeeting = 'm'\nuser = 'u'\n",
        ),
        (ADDED, "[signaling]\ntoken_file = 'token'\n"),
    ])
    .unwrap();
    let settings = effective.settings;
    let camera = VideoDevice::SimFile("/usr/share/huddled/a.y4m".into());
    assert_eq!(settings.camera.device, camera);
    assert_eq!(settings.hub.pages, Path::new("/usr/share/huddled/guest"));
    let token = settings.signaling.unwrap().token_file.unwrap();
    assert_eq!(token.base, Path::new("/etc/huddled/conf.d"));
}

#[test]
fn the_file_that_says_it_is_named() {
    for (layers, expected) in [
        // Not even a covered mistake passes.
        (
            &[
                (VENDOR, "[video]\nwidth = 5"),
                (OWN, "[video]\nwidth = 640"),
            ][..],
            "/usr/share/huddled/config.toml, line 2, video.width: 5 is out of range; give 160 to 1920",
        ),
        (
            &[(VENDOR, "[box]\nname = 'a'"), (OWN, "\n[box]\nnmae = 'b'")],
            "/etc/huddled/config.toml, line 3, box.nmae: unknown key; did you mean \"name\"?",
        ),
        (
            &[(OWN, ""), (ADDED, "x")],
            "/etc/huddled/conf.d/10-turn.toml, line 1: key with no value, expected `=`",
        ),
        // What they come to together is judged together.
        (
            &[
                (OWN, "[signaling]\nemail = 'a@b'\npassword_file = 'p'"),
                (ADDED, "[signaling]\ntoken_file = 't'"),
            ],
            "/etc/huddled/conf.d/10-turn.toml, line 2, signaling.token_file: contradicts email and password_file; log \
             in with either a token or a password",
        ),
        (
            &[
                (OWN, "[signaling]\nurl = 'https://a'"),
                (ADDED, "\n[signaling]\nmeeting = 'm'"),
            ],
            "/etc/huddled/conf.d/10-turn.toml, line 2, signaling.user: is missing; give the id of the application's \
             user that this box is (an account of its own)",
        ),
        (
            &[
                (
                    VENDOR,
                    "[[ice_servers]]\nurls = 'turn:a'\nusername = 'u'\ncredential_file = 'c'\n[ice]\nrelay_only = true",
                ),
                (OWN, "ice_servers = []"),
            ],
            "/usr/share/huddled/config.toml, line 6, ice.relay_only: needs a TURN server; add one under [[ice_servers]]",
        ),
        (
            &[
                (VENDOR, "[panel]\nbackend = 'chardev'"),
                (OWN, "[panel.leds.mic]\nline = 3"),
            ],
            "/etc/huddled/config.toml, line 1, panel.leds.mic.chip: is missing; backend \"chardev\" needs the chip's \
             name or label",
        ),
    ] {
        assert_eq!(merged(layers).expect_err(expected).to_string(), expected);
    }
}

#[test]
fn what_is_shown_with_origins_names_each_and_still_reads_as_the_same() {
    let effective = merged(&[(VENDOR, FULL), (OWN, "[box]\nname = 'mine'\n")]).unwrap();
    let shown = effective.settings.show_with(&effective.origins);
    assert!(
        shown.contains("name = \"mine\"  # /etc/huddled/config.toml, line 2\n"),
        "{shown}"
    );
    assert!(
        shown.contains("width = 640  # /usr/share/huddled/config.toml, line 60"),
        "{shown}"
    );
    let urls = shown.lines().filter(|line| line.starts_with("urls = "));
    assert!(
        urls.clone().count() == 3 && urls.clone().all(|line| line.contains("line ")),
        "{shown}"
    );
    // Every key is set in FULL, and what it does not set is not shown but for the LEDs' defaults.
    let defaults: Vec<_> = shown
        .lines()
        .filter(|line| line.ends_with("# default"))
        .collect();
    assert!(
        defaults.iter().all(|line| line.starts_with("active_low")),
        "{defaults:?}"
    );
    assert_eq!(
        parse(&shown, Path::new(VENDOR)).map(|settings| settings.name),
        Ok("mine".to_owned())
    );
    let nothing = merge(&[]).unwrap();
    let shown = nothing.settings.show_with(&nothing.origins);
    for line in shown.lines().filter(|line| line.contains(" = ")) {
        assert!(line.ends_with("  # default"), "{line}");
    }
}

// ---- falling back

fn candidates(files: &[(&str, &str)]) -> Vec<Candidate> {
    files
        .iter()
        .map(|(file, text)| Candidate {
            file: file.into(),
            text: Ok((*text).to_owned()),
            source: Source::Own,
        })
        .collect()
}

fn chosen(now: &[Candidate], accepted: &[(&str, &str)]) -> Result<Chosen, ConfigError> {
    let accepted: Vec<_> = accepted
        .iter()
        .map(|(file, text)| layer(file, text))
        .collect();
    choose(now, &accepted, |effective| {
        let name = &effective.settings.name;
        match name.as_str() {
            "impossible" => Err(effective
                .origins
                .error("box.name", Path::new("x"), "cannot be")),
            _ => Ok(()),
        }
    })
}

const GOOD: &str = "[box]\nname = 'good'\n";
const BETTER: &str = "[box]\nname = 'better'\n";

#[test]
fn what_is_right_is_taken_as_it_is() {
    let chosen = chosen(&candidates(&[(OWN, BETTER)]), &[(OWN, GOOD)]).unwrap();
    assert_eq!(chosen.effective.settings.name, "better");
    assert_eq!(
        (chosen.refusals, chosen.layers),
        (vec![], vec![layer(OWN, BETTER)])
    );
    // A file that is gone was taken away on purpose.
    let chosen = self::chosen(&[], &[(OWN, GOOD)]).unwrap();
    assert_eq!(chosen.effective.settings, Settings::default());
}

#[test]
fn a_refused_file_is_replaced_by_its_copy_and_the_others_stay_new() {
    let wrong = [
        "nonsense",
        "[box]\nname = 'impossible'\n",
        "[bax]",
        "[video]\nwidth = 1",
    ];
    for wrong in wrong {
        let now = candidates(&[(VENDOR, "[audio]\nbitrate = 7000"), (OWN, wrong)]);
        let accepted = &[(VENDOR, "[audio]\nbitrate = 6000"), (OWN, GOOD)];
        let chosen = chosen(&now, accepted).unwrap();
        assert_eq!(chosen.effective.settings.name, "good", "{wrong}");
        assert_eq!(chosen.effective.settings.audio.bitrate, Bitrate(7000));
        let [refusal] = chosen.refusals.as_slice() else {
            panic!("{:?}", chosen.refusals);
        };
        assert_eq!(
            (refusal.error.file.as_path(), refusal.instead),
            (Path::new(OWN), Instead::Copy)
        );
        let text = refusal.to_string();
        assert!(
            text.ends_with("; its last accepted copy is used instead"),
            "{text}"
        );
    }
}

#[test]
fn a_file_that_cannot_be_read_is_refused_like_a_wrong_one() {
    let now = [Candidate {
        file: OWN.into(),
        text: Err("cannot be read: Permission denied".to_owned()),
        source: Source::Own,
    }];
    let chosen = chosen(&now, &[(OWN, GOOD)]).unwrap();
    assert_eq!(chosen.effective.settings.name, "good");
    assert_eq!(
        chosen.refusals[0].to_string(),
        "/etc/huddled/config.toml: cannot be read: Permission denied; its last accepted copy is used instead"
    );
    let error = self::chosen(&now, &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/etc/huddled/config.toml: cannot be read: Permission denied"
    );
}

#[test]
fn a_new_file_that_is_wrong_is_left_out() {
    let now = candidates(&[(OWN, GOOD), (ADDED, "[box]\nnmae = 1")]);
    let chosen = chosen(&now, &[(OWN, GOOD)]).unwrap();
    assert_eq!(chosen.effective.settings.name, "good");
    assert_eq!(chosen.refusals[0].instead, Instead::Nothing);
    assert_eq!(chosen.layers, [layer(OWN, GOOD)]);
}

#[test]
fn files_that_do_not_fit_each_other_are_replaced_together() {
    let login = "[signaling]\nemail = 'a@b'\npassword_file = 'p'\n";
    let token = "[signaling]\ntoken_file = 't'\n";
    // The new one is not the one that is named.
    let now = candidates(&[(OWN, login), (ADDED, token)]);
    let accepted = &[(OWN, GOOD), (ADDED, token)];
    let chosen = chosen(&now, accepted).unwrap();
    assert_eq!(chosen.effective.settings.name, "good");
    assert_eq!(chosen.refusals[0].instead, Instead::Everything);
    assert_eq!(chosen.layers, [layer(OWN, GOOD), layer(ADDED, token)]);
}

#[test]
fn where_nothing_valid_exists_the_mistake_of_today_is_told() {
    let error = chosen(&candidates(&[(OWN, "[bax]")]), &[]).unwrap_err();
    let expected = "/etc/huddled/config.toml, line 1, bax: unknown key; did you mean \"box\"?";
    assert_eq!(error.to_string(), expected);
    let error = chosen(&candidates(&[(OWN, "[bax]")]), &[(OWN, "also wrong")]).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

proptest! {
    /// Whatever becomes of one file, a box that once had a right one goes on.
    #[test]
    fn no_broken_file_leaves_a_box_without_settings(
        cut in 0..FULL.len(),
        length in 0..40usize,
        noise in r#"[\[\]=".#'\{\}a-z0-9:_é\n -]{0,20}"#,
        which in 0..2usize,
    ) {
        let end = (cut + length).min(FULL.len());
        let broken = format!("{}{noise}{}", &FULL[..cut], &FULL[end..]);
        let mut now = [(VENDOR, FULL), (OWN, GOOD)];
        now[which].1 = &broken;
        let accepted = [(VENDOR, FULL), (OWN, GOOD)];
        let chosen = chosen(&candidates(&now), &accepted).expect("something valid exists");
        if !chosen.refusals.is_empty() {
            prop_assert_eq!(chosen.effective.settings, merged(&accepted).unwrap().settings);
        }
    }

    /// `from` and `to` take each setting from one of two configurations that differ in all of them.
    #[test]
    fn applying_the_differences_yields_the_new_settings(from in any::<u32>(), to in any::<u32>()) {
        let all = Settings::diff(&Settings::default(), &full());
        let mixed = |bits: u32| {
            let mut settings = Settings::default();
            for (index, change) in all.iter().enumerate() {
                if bits >> index & 1 == 1 {
                    change.clone().apply(&mut settings);
                }
            }
            settings
        };
        let (from, to) = (mixed(from), mixed(to));
        let mut applied = from.clone();
        for change in Settings::diff(&from, &to) {
            prop_assert_ne!(&applied, &to);
            change.apply(&mut applied);
        }
        prop_assert_eq!(&applied, &to);
        prop_assert_eq!(Settings::diff(&to, &to), vec![]);
    }
}

#[test]
fn the_full_file_differs_from_the_defaults_in_everything() {
    let mut keys: Vec<_> = Settings::diff(&Settings::default(), &full())
        .iter()
        .map(|change| change.key())
        .collect();
    assert_eq!(keys.len(), 21);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 21);
}
