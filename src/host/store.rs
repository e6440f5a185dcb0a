//! The state file: whether microphone and camera were closed when the process ended, and in which place.
//!
//! A state that opens is only as good as the ability to take it back. So the file is taken as open only where it can be
//! written at the start, and what could not be written is kept in the runtime directory, for a restart in the same boot.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::events::EventSender;
use crate::files::{self, Unsynced};
use crate::room::{Event, Persisted, PersistedState};

use super::HostError;
use super::state_document::{self as document, Found};

/// Name of the file in the state directory.
const FILE: &str = "state.toml";
/// Where it is written before it is renamed into place.
const TEMPORARY: &str = "state.toml.new";
/// Says that this is not the first start in this directory.
const MARK: &str = "started";
/// Others that say so: a state or mark that was being written, the copies of the accepted configuration, and remote files.
const SIGNS: [&str; 4] = [TEMPORARY, "started.new", "accepted.toml", "remote"];
/// Name of the copy in the runtime directory: what could not be written to the state directory.
const UNSAVED: &str = "unsaved-state.toml";
/// Orders that may wait for the disk; beyond it the oldest is given up, never the newest.
const WAITING: usize = 64;

/// The state file and the one thread that writes it.
///
/// Orders are carried out in the order they came. Those that pile up while the disk is slow are written as
/// one, the newest, and each is reported. Dropping the store finishes what waits.
#[derive(Debug)]
pub struct Store {
    files: Files,
    queue: Arc<Queue>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    /// A store for the state file in `directory`, which exists. `runtime` is the service's runtime directory, which a power
    /// cut empties.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn open(directory: &Path, runtime: Option<&Path>) -> Result<Self, HostError> {
        let files = Files {
            directory: directory.to_owned(),
            runtime: runtime.map(Path::to_owned),
            machine: document::machine(),
        };
        let queue = Arc::new(Queue::default());
        let writer = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn({
                let queue = Arc::clone(&queue);
                let files = files.clone();
                move || write_orders(&files, &queue)
            })
            .map_err(|source| HostError::Setup {
                what: "the thread that writes the state file",
                source,
            })?;
        Ok(Self {
            files,
            queue,
            writer: Some(writer),
        })
    }

    /// What the files say; for the start. Anything that is not exactly what this version writes is [`Persisted::Unreadable`],
    /// and so is a state that opens something while the directory cannot be written. The reason is logged.
    /// [`Persisted::Absent`] is the first start ever, which is marked before this returns.
    pub fn load(&self) -> Persisted {
        match self.files.load() {
            Ok(persisted) => persisted,
            Err(reason) => {
                log::error!(
                    "{}: the state file cannot be used, so microphone and camera start closed: {reason}",
                    self.files.state().display()
                );
                Persisted::Unreadable
            }
        }
    }

    /// Writes the state; never blocks. With `sync` [`Event::StatePersisted`] follows when file and directory
    /// are on the disk, without it as soon as the file is renamed into place (and it is synced afterwards).
    pub fn write(&self, state: PersistedState, sync: bool, events: &EventSender) {
        let order = Order {
            state,
            sync,
            events: events.clone(),
        };
        let given_up = {
            let mut waiting = self.queue.lock();
            waiting.orders.push_back(order);
            if waiting.orders.len() > WAITING {
                waiting.orders.pop_front()
            } else {
                None
            }
        };
        self.queue.changed.notify_one();
        if let Some(order) = given_up {
            log::error!("the state file is not written: the disk hangs");
            order.report(Some("the disk hangs".to_owned()));
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_one();
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            log::error!("the thread that writes the state file has panicked");
        }
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    orders: VecDeque<Order>,
    closed: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing done under this lock leaves it half-changed, so a panic elsewhere does not matter.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Everything that waits, in order; empty once the store is closed and nothing is left.
    fn take(&self) -> VecDeque<Order> {
        let mut waiting = self.lock();
        while waiting.orders.is_empty() && !waiting.closed {
            waiting = self
                .changed
                .wait(waiting)
                .unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::take(&mut waiting.orders)
    }
}

#[derive(Debug)]
struct Order {
    state: PersistedState,
    sync: bool,
    events: EventSender,
}

impl Order {
    fn report(self, error: Option<String>) {
        self.events.report(Event::StatePersisted {
            state: self.state,
            error,
        });
    }
}

fn write_orders(files: &Files, queue: &Queue) {
    let mut complained_of = None;
    loop {
        let orders = queue.take();
        let Some(newest) = orders.back() else {
            return;
        };
        let sync = orders.iter().any(|order| order.sync);
        let written = files.replace(&newest.state, sync);
        files.keep_unsaved(written.is_err().then_some(&newest.state));
        let error = written.as_ref().err().map(|error| {
            let text = format!("{}: {error}", files.state().display());
            // Once for a row of failures: the room orders it again and again until it succeeds.
            if complained_of.as_ref() != Some(&text) {
                log::error!("the state file is not written: {text}");
            }
            text
        });
        complained_of.clone_from(&error);
        for order in orders {
            order.report(error.clone());
        }
        if let Ok(Some(file)) = written
            && let Err(error) = file.sync()
        {
            log::warn!(
                "{}: written, but not synced to the disk: {error}",
                files.state().display()
            );
        }
    }
}

/// Where the state lies.
#[derive(Clone, Debug)]
struct Files {
    directory: PathBuf,
    runtime: Option<PathBuf>,
    machine: Option<String>,
}

impl Files {
    fn state(&self) -> PathBuf {
        self.directory.join(FILE)
    }

    /// An error says why everything starts closed.
    fn load(&self) -> Result<Persisted, String> {
        let mut state = match document::read(&self.state(), self.machine.as_deref()) {
            Found::Unusable(reason) => return Err(reason),
            Found::Nothing => return self.first_start(),
            Found::State(state) => state,
        };
        if let Some(unsaved) = self.unsaved()? {
            // Never more open than either: which of them is newer does not matter.
            state.muted |= unsaved.muted;
            state.camera_off |= unsaved.camera_off;
        }
        if !(state.muted && state.camera_off) {
            self.replace(&state, true)
                .and_then(|_| self.mark())
                .map_err(|error| {
                    format!(
                        "it opens something and cannot be written ({error}); free space or repair the disk"
                    )
                })?;
        } else if let Err(error) = self.mark() {
            log::debug!("{}: {error}", self.directory.join(MARK).display());
        }
        Ok(Persisted::Known(state))
    }

    /// There is no state: the first start, if nothing speaks against it and its mark can be written.
    fn first_start(&self) -> Result<Persisted, String> {
        let is_there = |name: &&str| self.directory.join(name).symlink_metadata().is_ok();
        if let Some(sign) = [MARK].iter().chain(&SIGNS).find(|name| is_there(name)) {
            return Err(format!(
                "it is lost, for this box has started before: {sign} is there"
            ));
        }
        if self.unsaved()?.is_some() {
            return Err("it is lost, for this box has started before".to_owned());
        }
        self.mark().map_err(|error| {
            format!(
                "{} cannot be written ({error}); free space or repair the disk",
                self.directory.join(MARK).display()
            )
        })?;
        Ok(Persisted::Absent)
    }

    fn mark(&self) -> std::io::Result<()> {
        let mark = self.directory.join(MARK);
        if mark.symlink_metadata().is_ok() {
            return Ok(());
        }
        let text = b"This box has started before. Without this file and the state, the next start is its first one.\n";
        files::replace(&mark, &files::beside(&mark), text, files::SECRET)
    }

    /// Puts a whole new file in the place of the old one. Before it is synced, a power cut may also leave an empty file,
    /// which is unreadable and so starts closed.
    fn replace(&self, state: &PersistedState, sync: bool) -> std::io::Result<Option<Unsynced>> {
        let text = document::write(state, self.machine.as_deref())?;
        let (path, temporary) = (self.state(), self.directory.join(TEMPORARY));
        match sync {
            true => {
                files::replace(&path, &temporary, text.as_bytes(), files::SECRET)?;
                Ok(None)
            }
            false => {
                files::replace_unsynced(&path, &temporary, text.as_bytes(), files::SECRET).map(Some)
            }
        }
    }

    /// What an earlier process of this boot could not write.
    fn unsaved(&self) -> Result<Option<PersistedState>, String> {
        let Some(runtime) = &self.runtime else {
            return Ok(None);
        };
        let path = runtime.join(UNSAVED);
        match document::read(&path, self.machine.as_deref()) {
            Found::Nothing => Ok(None),
            Found::State(state) => Ok(Some(state)),
            Found::Unusable(reason) => Err(format!("{}: {reason}", path.display())),
        }
    }

    /// Keeps what could not be written where it outlives a crash of this process, or removes what was kept.
    fn keep_unsaved(&self, state: Option<&PersistedState>) {
        let Some(runtime) = &self.runtime else {
            return;
        };
        let path = runtime.join(UNSAVED);
        let done = match state {
            Some(state) => document::write(state, self.machine.as_deref()).and_then(|text| {
                let temporary = files::beside(&path);
                files::replace_unsynced(&path, &temporary, text.as_bytes(), files::SECRET).map(drop)
            }),
            None => match std::fs::remove_file(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            },
        };
        if let Err(error) = done {
            log::warn!("{}: {error}", path.display());
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    use super::*;

    /// A directory of one test, removed at its end.
    pub(crate) struct TemporaryDirectory(PathBuf);

    impl TemporaryDirectory {
        pub(crate) fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("huddled-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for TemporaryDirectory {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn state(muted: bool, place: &str) -> PersistedState {
        PersistedState {
            muted,
            camera_off: !muted,
            place: place.to_owned(),
        }
    }

    fn next(events: &mut tokio::sync::mpsc::Receiver<Event>) -> (PersistedState, Option<String>) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            match events.try_recv() {
                Ok(Event::StatePersisted { state, error }) => return (state, error),
                Ok(other) => panic!("unexpected {other:?}"),
                Err(_) => {
                    assert!(Instant::now() < deadline, "nothing was reported");
                    std::thread::yield_now();
                }
            }
        }
    }

    #[test]
    fn what_was_written_is_loaded_again_with_and_without_sync() {
        let directory = TemporaryDirectory::new("store-roundtrip");
        let (sender, mut events) = EventSender::channel();
        for sync in [false, true] {
            let store = Store::open(directory.path(), None).unwrap();
            let written = state(sync, "https://example.org \"quoted\"\nmeeting");
            store.write(written.clone(), sync, &sender);
            assert_eq!(next(&mut events), (written.clone(), None));
            assert_eq!(store.load(), Persisted::Known(written));
        }
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(directory.path().join(FILE)), 0o600);
        assert!(!directory.path().join(TEMPORARY).exists());
    }

    #[test]
    fn a_lost_state_is_no_first_start() {
        for sign in [MARK].iter().chain(&SIGNS) {
            let directory = TemporaryDirectory::new(&format!("store-lost-{sign}"));
            let store = Store::open(directory.path(), None).unwrap();
            std::fs::write(directory.path().join(sign), "").unwrap();
            assert_eq!(store.load(), Persisted::Unreadable, "{sign}");
        }
        let directory = TemporaryDirectory::new("store-lost");
        let store = Store::open(directory.path(), None).unwrap();
        assert_eq!(store.load(), Persisted::Absent);
        assert_eq!(store.load(), Persisted::Unreadable, "the second start");
    }

    #[test]
    fn what_is_no_regular_file_is_unreadable_and_nobody_waits_for_it() {
        let directory = TemporaryDirectory::new("store-odd");
        let path = directory.path().join(FILE);
        let store = Store::open(directory.path(), None).unwrap();
        for target in ["nowhere", "/dev/zero", "elsewhere.toml"] {
            let other = directory.path().join("elsewhere.toml");
            let text = document::write(&state(false, "p"), None).unwrap();
            std::fs::write(other, text).unwrap();
            std::os::unix::fs::symlink(target, &path).unwrap();
            assert_eq!(store.load(), Persisted::Unreadable, "{target}");
            std::fs::remove_file(&path).unwrap();
        }
        let made = std::process::Command::new("mkfifo").arg(&path).status();
        assert!(made.unwrap().success());
        assert_eq!(store.load(), Persisted::Unreadable);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, vec![b'#'; 1 << 20]).unwrap();
        assert_eq!(store.load(), Persisted::Unreadable);
    }

    #[test]
    fn a_state_that_opens_and_cannot_be_written_starts_closed() {
        let directory = TemporaryDirectory::new("store-stuck");
        let (sender, mut events) = EventSender::channel();
        let store = Store::open(directory.path(), None).unwrap();
        let closed = PersistedState {
            muted: true,
            camera_off: true,
            place: "p".to_owned(),
        };
        for (written, expected) in [
            (state(false, "p"), Persisted::Unreadable),
            (closed.clone(), Persisted::Known(closed)),
        ] {
            store.write(written, true, &sender);
            next(&mut events);
            // A folder where the temporary file belongs; permissions would not stop root.
            let temporary = directory.path().join(TEMPORARY);
            std::fs::create_dir(&temporary).unwrap();
            assert_eq!(store.load(), expected);
            std::fs::remove_dir(&temporary).unwrap();
        }
    }

    #[test]
    fn a_press_that_was_not_saved_outlives_a_crash_and_never_opens() {
        let [directory, runtime] = ["store-disk", "store-run"].map(TemporaryDirectory::new);
        let (sender, mut events) = EventSender::channel();
        let open = || Store::open(directory.path(), Some(runtime.path())).unwrap();
        let store = open();
        store.write(state(false, "p"), true, &sender);
        next(&mut events);
        let temporary = directory.path().join(TEMPORARY);
        std::fs::create_dir(&temporary).unwrap();
        store.write(state(true, "p"), true, &sender);
        assert!(next(&mut events).1.is_some());
        // The disk is well again when the next process starts.
        std::fs::remove_dir(&temporary).unwrap();
        let both = PersistedState {
            muted: true,
            camera_off: true,
            place: "p".to_owned(),
        };
        assert_eq!(open().load(), Persisted::Known(both));
        // Once a state was written, nothing is kept.
        store.write(state(false, "p"), true, &sender);
        next(&mut events);
        assert!(!runtime.path().join(UNSAVED).exists());
        std::fs::write(runtime.path().join(UNSAVED), "nonsense").unwrap();
        assert_eq!(open().load(), Persisted::Unreadable);
    }

    #[test]
    fn a_state_of_version_0_1_0_is_kept() {
        let directory = TemporaryDirectory::new("store-upgrade");
        let text = "version = 1\nmuted = false\ncamera_off = true\nplace = \"p\"\n";
        std::fs::write(directory.path().join(FILE), text).unwrap();
        let store = Store::open(directory.path(), None).unwrap();
        assert_eq!(store.load(), Persisted::Known(state(false, "p")));
        assert!(directory.path().join(MARK).exists());
    }

    #[test]
    fn the_first_start_ever_finds_nothing() {
        let directory = TemporaryDirectory::new("store-absent");
        assert_eq!(
            Store::open(directory.path(), None).unwrap().load(),
            Persisted::Absent
        );
    }

    #[test]
    fn anything_but_what_this_version_writes_is_unreadable() {
        let directory = TemporaryDirectory::new("store-unreadable");
        let store = Store::open(directory.path(), None).unwrap();
        for content in [
            &b""[..],
            b"\xff\xfe",
            b"version = 2\nmuted = false\ncamera_off = false\nplace = \"p\"\n",
            b"version = 1\nmuted = false\ncamera_off = false\nplace = \"p\"\nnew = 1\n",
            b"version = 1\nmuted = \"no\"\ncamera_off = false\nplace = \"p\"\n",
            b"version = 1\nmuted = false\ncamera_off = false\n",
            b"version = 1\nmuted = fal",
        ] {
            std::fs::write(directory.path().join(FILE), content).unwrap();
            assert_eq!(store.load(), Persisted::Unreadable, "{content:?}");
        }
        // A folder in its place cannot even be read.
        std::fs::remove_file(directory.path().join(FILE)).unwrap();
        std::fs::create_dir(directory.path().join(FILE)).unwrap();
        assert_eq!(store.load(), Persisted::Unreadable);
    }

    #[test]
    fn every_write_is_reported_in_order_and_the_newest_stays() {
        let directory = TemporaryDirectory::new("store-order");
        let (sender, mut events) = EventSender::channel();
        let store = Store::open(directory.path(), None).unwrap();
        let states: Vec<_> = (0..40)
            .map(|i| state(i % 2 == 0, &format!("place {i}")))
            .collect();
        for (i, state) in states.iter().enumerate() {
            store.write(state.clone(), i % 3 == 0, &sender);
        }
        for state in &states {
            assert_eq!(next(&mut events), (state.clone(), None));
        }
        assert_eq!(
            store.load(),
            Persisted::Known(states.last().unwrap().clone())
        );
    }

    #[test]
    fn dropping_the_store_finishes_what_waits() {
        let directory = TemporaryDirectory::new("store-drop");
        let (sender, mut events) = EventSender::channel();
        let store = Store::open(directory.path(), None).unwrap();
        store.write(state(true, "last"), false, &sender);
        drop(store);
        assert!(events.try_recv().is_ok(), "it is reported already");
        assert_eq!(
            Store::open(directory.path(), None).unwrap().load(),
            Persisted::Known(state(true, "last"))
        );
    }

    #[test]
    fn a_failed_write_is_reported_with_its_file_and_the_old_content_stays() {
        let directory = TemporaryDirectory::new("store-failure");
        let (sender, mut events) = EventSender::channel();
        let store = Store::open(directory.path(), None).unwrap();
        store.write(state(true, "old"), true, &sender);
        next(&mut events);
        // A folder where the temporary file belongs; permissions would not stop root.
        std::fs::create_dir(directory.path().join(TEMPORARY)).unwrap();
        store.write(state(false, "new"), true, &sender);
        let (reported, error) = next(&mut events);
        assert_eq!(reported, state(false, "new"));
        assert!(error.unwrap().contains(FILE));
        std::fs::remove_dir(directory.path().join(TEMPORARY)).unwrap();
        assert_eq!(store.load(), Persisted::Known(state(true, "old")));
    }

    #[test]
    fn when_the_disk_hangs_the_oldest_order_is_given_up_and_reported() {
        let directory = TemporaryDirectory::new("store-hangs");
        let (sender, mut events) = EventSender::channel();
        // A store without its writer is one whose disk hangs.
        let store = Store {
            files: Files {
                directory: directory.path().to_owned(),
                runtime: None,
                machine: None,
            },
            queue: Arc::default(),
            writer: None,
        };
        for i in 0..=WAITING {
            store.write(state(true, &i.to_string()), true, &sender);
        }
        let (given_up, error) = next(&mut events);
        assert_eq!(given_up.place, "0");
        assert!(error.is_some());
        let waiting = store.queue.take();
        assert_eq!(waiting.len(), WAITING);
        assert_eq!(waiting.back().unwrap().state.place, WAITING.to_string());
    }
}
