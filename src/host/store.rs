//! The state file: whether microphone and camera were closed when the process ended, and in which place.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::events::EventSender;
use crate::files::{self, Unsynced};
use crate::room::{Event, Persisted, PersistedState};

use super::HostError;

/// Name of the file in the state directory.
const FILE: &str = "state.toml";
/// Where it is written before it is renamed into place.
const TEMPORARY: &str = "state.toml.new";
/// Format of the file; another one is not understood.
const VERSION: u32 = 1;
/// Orders that may wait for the disk; beyond it the oldest is given up, never the newest.
const WAITING: usize = 64;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    muted: bool,
    camera_off: bool,
    place: String,
}

/// The state file and the one thread that writes it.
///
/// Orders are carried out in the order they came. Those that pile up while the disk is slow are written as
/// one, the newest, and each is reported. Dropping the store finishes what waits.
#[derive(Debug)]
pub struct Store {
    directory: PathBuf,
    queue: Arc<Queue>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Store {
    /// A store for the state file in `directory`, which exists.
    pub fn open(directory: &Path) -> Result<Self, HostError> {
        let queue = Arc::new(Queue::default());
        let writer = std::thread::Builder::new()
            .name("state".to_owned())
            .spawn({
                let queue = Arc::clone(&queue);
                let directory = directory.to_owned();
                move || write_orders(&directory, &queue)
            })
            .map_err(|source| HostError::Setup {
                what: "the thread that writes the state file",
                source,
            })?;
        Ok(Self {
            directory: directory.to_owned(),
            queue,
            writer: Some(writer),
        })
    }

    /// What the file says. Anything that is not exactly what this version writes is [`Persisted::Unreadable`],
    /// and the reason is logged. Reads a small file; for the start.
    pub fn load(&self) -> Persisted {
        let path = self.directory.join(FILE);
        let understood = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Persisted::Absent,
            Err(error) => Err(error.to_string()),
            Ok(text) => parse(&text),
        };
        match understood {
            Ok(state) => Persisted::Known(state),
            Err(reason) => {
                log::error!(
                    "{}: the state file cannot be used, so microphone and camera start closed: {reason}",
                    path.display()
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

fn write_orders(directory: &Path, queue: &Queue) {
    let mut complained_of = None;
    loop {
        let orders = queue.take();
        let Some(newest) = orders.back() else {
            return;
        };
        let sync = orders.iter().any(|order| order.sync);
        let written = replace(directory, &newest.state, sync);
        let error = written.as_ref().err().map(|error| {
            let text = format!("{}: {error}", directory.join(FILE).display());
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
                directory.join(FILE).display()
            );
        }
    }
}

// Puts a whole new file in the place of the old one. Before it is synced, a power cut may also leave an empty file, which
// is unreadable and so starts closed.
fn replace(
    directory: &Path,
    state: &PersistedState,
    sync: bool,
) -> std::io::Result<Option<Unsynced>> {
    let document = Document {
        version: VERSION,
        muted: state.muted,
        camera_off: state.camera_off,
        place: state.place.clone(),
    };
    let text = toml::to_string(&document).map_err(std::io::Error::other)?;
    let (path, temporary) = (directory.join(FILE), directory.join(TEMPORARY));
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

fn parse(text: &str) -> Result<PersistedState, String> {
    // `toml`'s message quotes the line; the file holds no secret.
    let document: Document = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    let Document {
        version,
        muted,
        camera_off,
        place,
    } = document;
    if version != VERSION {
        return Err(format!("its version is {version}, not {VERSION}"));
    }
    Ok(PersistedState {
        muted,
        camera_off,
        place,
    })
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
            let store = Store::open(directory.path()).unwrap();
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
    fn the_first_start_ever_finds_nothing() {
        let directory = TemporaryDirectory::new("store-absent");
        assert_eq!(
            Store::open(directory.path()).unwrap().load(),
            Persisted::Absent
        );
    }

    #[test]
    fn anything_but_what_this_version_writes_is_unreadable() {
        let directory = TemporaryDirectory::new("store-unreadable");
        let store = Store::open(directory.path()).unwrap();
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
        let store = Store::open(directory.path()).unwrap();
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
        let store = Store::open(directory.path()).unwrap();
        store.write(state(true, "last"), false, &sender);
        drop(store);
        assert!(events.try_recv().is_ok(), "it is reported already");
        assert_eq!(
            Store::open(directory.path()).unwrap().load(),
            Persisted::Known(state(true, "last"))
        );
    }

    #[test]
    fn a_failed_write_is_reported_with_its_file_and_the_old_content_stays() {
        let directory = TemporaryDirectory::new("store-failure");
        let (sender, mut events) = EventSender::channel();
        let store = Store::open(directory.path()).unwrap();
        store.write(state(true, "old"), true, &sender);
        next(&mut events);
        // A folder where the temporary file belongs; permissions would not stop root.
        std::fs::create_dir(directory.path().join(TEMPORARY)).unwrap();
        store.write(state(false, "new"), true, &sender);
        let (reported, error) = next(&mut events);
        assert_eq!(reported, state(false, "new"));
        assert!(error.unwrap().contains(FILE));
        assert_eq!(store.load(), Persisted::Known(state(true, "old")));
    }

    #[test]
    fn when_the_disk_hangs_the_oldest_order_is_given_up_and_reported() {
        let directory = TemporaryDirectory::new("store-hangs");
        let (sender, mut events) = EventSender::channel();
        // A store without its writer is one whose disk hangs.
        let store = Store {
            directory: directory.path().to_owned(),
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
