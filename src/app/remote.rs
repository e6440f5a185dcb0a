//! Looks after the remote file: fetches when the policy says so, has what is to be tried applied like any other change
//! of a file, and watches what becomes of it.

mod look;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::monotonic;
use crate::config::{Apply, RemoteSettings, Settings};
use crate::control::{ControlRequest, Reload};
use crate::remote::{
    Fetched, Looked, Order, Policy, Record, Server, Situation, Store, Timing, Trial, answers,
};
use crate::room::{Command, RoomSnapshot, SignalingState, Source};

use super::configuration::ConfigSource;
use super::reload::is_in_effect;
use super::run::read_credential;

/// After a disk that could not be written, the outcome of a trial is written again after this long.
const WRITE_AGAIN: Duration = Duration::from_secs(60);
/// Where nothing is due.
const LONG: Duration = Duration::from_secs(3600);

/// Asks for a look now; answered with a sentence.
pub(super) type LookRequest = oneshot::Sender<Result<String, String>>;

/// The program around it.
pub(super) struct Surroundings {
    /// Where the configuration comes from.
    pub(super) source: ConfigSource,
    /// The settings in effect.
    pub(super) running: watch::Receiver<Arc<Settings>>,
    /// The room.
    pub(super) snapshots: watch::Receiver<Arc<RoomSnapshot>>,
    /// Wishes to the room.
    pub(super) commands: mpsc::Sender<ControlRequest>,
    /// Reads the configuration again.
    pub(super) reload: Reload,
    /// Looks that somebody wants now.
    pub(super) requests: mpsc::Receiver<LookRequest>,
    /// For `huddlectl health`.
    pub(super) status: watch::Sender<Value>,
}

/// What ended beside the loop.
enum Done {
    Looked(Result<Fetched, String>),
    Asked(bool),
    /// It is time to write again what could not be written.
    Again,
}

/// Looks now. Blocks; the answer is a sentence.
pub(super) fn ask(manager: &mpsc::Sender<LookRequest>) -> Result<String, String> {
    let (reply, answer) = oneshot::channel();
    let stopping = || "the daemon is stopping".to_owned();
    manager.blocking_send(reply).map_err(|_| stopping())?;
    answer.blocking_recv().map_err(|_| stopping())?
}

/// One `[remote]` section being looked after.
struct Manager {
    remote: RemoteSettings,
    id: Option<String>,
    store: Store,
    server: Arc<Server>,
    policy: Policy,
    /// Of the last look whose file needs no second one.
    etag: Option<String>,
    signature: Option<String>,
    /// All settings as they are wanted with the file on trial, and without it.
    wanted: Option<Settings>,
    last_good: Option<Settings>,
    /// Why the last look failed.
    problem: Option<String>,
    done: mpsc::Sender<Done>,
    /// Who wants a look that has not begun, and who the one under way.
    waiting: Vec<LookRequest>,
    answering: Vec<LookRequest>,
}

/// Runs as long as the program.
pub(super) async fn look_after(mut around: Surroundings) {
    loop {
        let settings = around.running.borrow_and_update().clone();
        let managed = match (&settings.remote, around.source.remote_store()) {
            (Some(remote), Some(store)) => Some((remote.clone(), store)),
            (Some(_), None) => {
                log::warn!(
                    "[remote] does nothing: --config named the one file that counts, or nothing says where the state \
                     belongs"
                );
                None
            }
            (None, _) => None,
        };
        let Some((remote, store)) = managed else {
            around.status.send_replace(Value::Null);
            tokio::select! {
                changed = around.running.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Some(request) = around.requests.recv() => {
                    // Whoever asked may have gone.
                    let _ = request.send(Err("no [remote] url is configured".to_owned()));
                }
            }
            continue;
        };
        let (done, outcomes) = mpsc::channel(8);
        match Manager::new(remote, settings.id.clone(), store, done) {
            Ok(manager) => {
                if manager.run(&mut around, outcomes).await.is_none() {
                    return;
                }
            }
            Err(problem) => {
                log::error!("remote configuration: {problem}");
                around.status.send_replace(json!({ "problem": problem }));
                if around.running.changed().await.is_err() {
                    return;
                }
            }
        }
    }
}

impl Manager {
    fn new(
        remote: RemoteSettings,
        id: Option<String>,
        store: Store,
        done: mpsc::Sender<Done>,
    ) -> Result<Self, String> {
        let ca = authority("[remote] ca_file", remote.ca_file.as_ref())?;
        let server = Server::new(&remote, ca.as_deref())?;
        let mut seed = [0; 8];
        getrandom::fill(&mut seed)
            .map_err(|error| format!("the system has no random numbers: {error}"))?;
        let timing = Timing {
            interval: remote.interval,
            probation: remote.probation,
        };
        Ok(Self {
            policy: Policy::new(timing, u64::from_le_bytes(seed), monotonic()),
            server: Arc::new(server),
            remote,
            id,
            store,
            etag: None,
            signature: None,
            wanted: None,
            last_good: None,
            problem: None,
            done,
            waiting: Vec::new(),
            answering: Vec::new(),
        })
    }

    /// Until the section is another one; `None` when the program ends.
    async fn run(
        mut self,
        around: &mut Surroundings,
        mut outcomes: mpsc::Receiver<Done>,
    ) -> Option<()> {
        self.resume(around).await;
        self.observe(around);
        loop {
            while let Some(order) = self.policy.poll_order() {
                self.obey(order, around).await;
            }
            self.show(around);
            let due = self.policy.poll_timeout();
            let wait = due.map_or(LONG, |at| at.since(monotonic()));
            tokio::select! {
                () = tokio::time::sleep(wait) => self.policy.handle_timeout(monotonic()),
                changed = around.running.changed() => {
                    changed.ok()?;
                    let settings = around.running.borrow_and_update().clone();
                    if settings.remote.as_ref() != Some(&self.remote) || settings.id != self.id {
                        return Some(());
                    }
                    if self.wanted.is_some() {
                        // Other files may have changed under the one on trial.
                        self.wanted = around.source.load().ok().map(|loaded| loaded.settings);
                    }
                    self.observe(around);
                }
                changed = around.snapshots.changed() => {
                    changed.ok()?;
                    self.observe(around);
                }
                Some(done) = outcomes.recv() => self.on_done(done, around).await,
                Some(request) = around.requests.recv() => {
                    // Whoever asks wants to know it now, whatever was known.
                    (self.etag, self.signature) = (None, None);
                    self.waiting.push(request);
                    self.policy.look_now(monotonic());
                }
            }
        }
    }

    /// A file may be on trial since an earlier start. One that is not what it was, or is trusted no more, cannot stand
    /// its trial: the last good one is in use already, and stays.
    async fn resume(&mut self, around: &mut Surroundings) {
        let mut record = self.record();
        if record.trial.is_none() {
            self.policy.set_trial(None);
            return;
        }
        let Some(reason) = around.source.trial_refused() else {
            let trial = self.compare(around);
            self.policy.set_trial(Some(trial));
            return;
        };
        self.wanted = None;
        self.policy.set_trial(None);
        log::error!("{reason}");
        record.give_up(reason);
        if self.remember(&record) {
            reload(around).await;
        }
    }

    /// What the file on trial changes.
    fn compare(&mut self, around: &Surroundings) -> Trial {
        self.wanted = around.source.load().ok().map(|loaded| loaded.settings);
        self.last_good = around.source.last_good().ok();
        let of = |settings: &Option<Settings>| settings.as_ref()?.signaling.clone();
        match (of(&self.last_good), of(&self.wanted)) {
            (None, _) => Trial::default(),
            (Some(old), new) => Trial {
                has_last_good: true,
                same_signaling: Some(&old) == new.as_ref(),
                rejoin: new.is_some_and(|new| {
                    new != old && (&new.url, &new.identity) == (&old.url, &old.identity)
                }),
            },
        }
    }

    fn observe(&mut self, around: &Surroundings) {
        let Some(wanted) = &self.wanted else {
            return;
        };
        // In this order: the driver tells of the room before it tells that settings are in effect.
        let in_effect = is_in_effect(&around.running.borrow(), wanted);
        let snapshot = Arc::clone(&around.snapshots.borrow());
        let situation = Situation {
            in_effect,
            may_leave: snapshot.peers.is_empty() || wanted.apply == Apply::Now,
            signaling: snapshot.signaling,
        };
        self.policy.observe(situation, monotonic());
    }

    async fn obey(&mut self, order: Order, around: &mut Surroundings) {
        match order {
            Order::Look => {
                self.answering.append(&mut self.waiting);
                let server = Arc::clone(&self.server);
                let (etag, signature) = (self.etag.clone(), self.signature.clone());
                let done = self.done.clone();
                drop(tokio::spawn(async move {
                    let result = server.fetch(etag.as_deref(), signature.as_deref()).await;
                    // Nobody waits any more once the section is another one.
                    let _ = done.send(Done::Looked(result)).await;
                }));
            }
            Order::AskLastGood => {
                let signaling = self
                    .last_good
                    .as_ref()
                    .and_then(|good| good.signaling.clone());
                let done = self.done.clone();
                drop(tokio::spawn(async move {
                    let answers = match signaling {
                        Some(signaling) => {
                            let ca = authority("[signaling] ca_file", signaling.ca_file.as_ref());
                            answers(signaling.url.as_str(), ca.ok().flatten().as_deref()).await
                        }
                        None => false,
                    };
                    let _ = done.send(Done::Asked(answers)).await;
                }));
            }
            Order::Rejoin => {
                let commands = around.commands.clone();
                drop(tokio::spawn(async move {
                    for command in [Command::Leave, Command::Join] {
                        let (reply, answer) = oneshot::channel();
                        let request = ControlRequest {
                            command,
                            source: Source::Control("the remote configuration".to_owned()),
                            reply,
                        };
                        if commands.send(request).await.is_err() || answer.await.is_err() {
                            return;
                        }
                    }
                }));
            }
            Order::StayedUp => {
                let mut record = self.record();
                if record.stayed_up()
                    && let Err(problem) = blocking(|| self.store.remember(&record))
                {
                    log::warn!("remote configuration: {problem}");
                }
            }
            Order::Confirm => {
                let mut record = self.record();
                record.confirm();
                if self.remember(&record) {
                    let number = record.good.map_or(0, |good| good.number);
                    log::info!("the remote configuration's version {number} has stood its trial");
                    self.wanted = None;
                    reload(around).await;
                }
            }
            Order::GoBack => {
                let mut record = self.record();
                record.go_back(&self.why(around));
                if self.remember(&record) {
                    self.wanted = None;
                    reload(around).await;
                }
            }
        }
    }

    /// Why the file on trial has to go.
    fn why(&self, around: &Surroundings) -> String {
        let snapshot = around.snapshots.borrow();
        let server = |settings: &Option<Settings>| {
            let signaling = settings.as_ref()?.signaling.as_ref()?;
            Some(signaling.url.to_string())
        };
        let state = match (&snapshot.signaling, &snapshot.banner) {
            (SignalingState::Refused, Some(banner)) => banner.clone(),
            (state, _) => state.as_str().to_owned(),
        };
        let old = server(&self.last_good).unwrap_or_default();
        let within = format!("{} s", self.remote.probation.as_secs());
        match server(&self.wanted) {
            Some(new) if new == old => {
                format!(
                    "the box did not get into its meeting within {within} ({state}), though {old} answers"
                )
            }
            Some(new) => {
                format!("{new} was not reached within {within} ({state}), while {old} answers")
            }
            None => format!("it leaves the box without a meeting, while {old} answers"),
        }
    }

    async fn on_done(&mut self, done: Done, around: &mut Surroundings) {
        match done {
            Done::Asked(answers) => self.policy.asked(answers, monotonic()),
            Done::Again => {
                self.resume(around).await;
                self.observe(around);
            }
            Done::Looked(result) => {
                let result = self.on_look(result, around).await;
                let looked = match &result {
                    Ok(_) => Looked::Answered,
                    Err(problem) => {
                        // Once for a row of failures.
                        if self.problem.as_ref() != Some(problem) {
                            log::warn!("remote configuration: {problem}");
                        }
                        Looked::Failed
                    }
                };
                self.problem = result.as_ref().err().cloned();
                self.policy.looked(looked, monotonic());
                // Who is answered and then asks for the health must not be told of before.
                self.show(around);
                for request in self.answering.drain(..) {
                    // Whoever asked may have gone.
                    let _ = request.send(result.clone());
                }
                if !self.waiting.is_empty() {
                    (self.etag, self.signature) = (None, None);
                    self.policy.look_now(monotonic());
                }
            }
        }
    }

    /// One that cannot be used is replaced by the next file.
    fn record(&self) -> Record {
        self.store.record().unwrap_or_default()
    }

    fn remember(&self, record: &Record) -> bool {
        let Err(problem) = blocking(|| self.store.remember(record)) else {
            return true;
        };
        log::error!("remote configuration: {problem}; trying again in {WRITE_AGAIN:?}");
        let done = self.done.clone();
        drop(tokio::spawn(async move {
            tokio::time::sleep(WRITE_AGAIN).await;
            let _ = done.send(Done::Again).await;
        }));
        false
    }

    fn show(&self, around: &Surroundings) {
        let record = self.record();
        let status = json!({
            "url": self.server.address(),
            "version": record.current().map(|version| version.number),
            "on_trial": record.trial.is_some(),
            "problem": self.problem,
        });
        around.status.send_replace(status);
    }
}

/// Reads the configuration again where blocking is allowed; the outcome is logged.
async fn reload(around: &Surroundings) {
    let reload = Arc::clone(&around.reload);
    if let Err(error) = tokio::task::spawn_blocking(move || drop(reload())).await {
        log::error!("reading the configuration again ended in a defect: {error}");
    }
}

/// For the disk, which may take its time: other tasks go on meanwhile.
fn blocking<T>(work: impl FnOnce() -> T) -> T {
    tokio::task::block_in_place(work)
}

fn authority(
    key: &str,
    file: Option<&crate::config::CredentialRef>,
) -> Result<Option<String>, String> {
    file.map(|file| read_credential(key, file).map(|pem| pem.0))
        .transpose()
        .map_err(|error| error.to_string())
}
