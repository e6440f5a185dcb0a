//! What a look has brought: nothing, a file to try, or one to refuse.

use crate::remote::{Digest, Fetched, Record, Verdict, Version, verify};

use super::{Manager, Surroundings, blocking, reload};

impl Manager {
    /// What became of a look, in a sentence; an error is to be tried again soon.
    pub(super) async fn on_look(
        &mut self,
        result: Result<Fetched, String>,
        around: &mut Surroundings,
    ) -> Result<String, String> {
        let (text, signature, etag) = match result? {
            Fetched::Unchanged => return Ok("nothing new".to_owned()),
            Fetched::Files {
                text,
                signature,
                etag,
            } => (text, signature, etag),
        };
        let mut record = self.record();
        let signed = verify(&text, &signature, &self.remote.keys, self.id.as_deref());
        let read = signed.and_then(|number| match String::from_utf8(text) {
            Ok(text) => Ok((number, text)),
            Err(_) => Err("it is not UTF-8 text".to_owned()),
        });
        let (number, text) = match read {
            Ok(read) => read,
            Err(reason) => return self.refuse(record, &reason, around).await,
        };
        let digest = Digest::of(text.as_bytes());
        let version = Version { number, digest };
        let verdict = record.judge(&version);
        let said = match verdict {
            Verdict::Refuse(reason) => return self.refuse(record, &reason, around).await,
            Verdict::Failed(reason) => {
                self.complain(record, &reason, around).await;
                format!("not tried again until its bytes change: {reason}")
            }
            Verdict::Same => {
                // It may be signed anew by another key, or no more be on the disk what it was.
                let kept = blocking(|| self.store.read(&version));
                let anew = !kept.is_ok_and(|kept| kept.signature == signature);
                if anew {
                    blocking(|| self.store.keep(&text, &signature))?;
                }
                let complained = record.complaint.take().is_some();
                if complained {
                    blocking(|| self.store.remember(&record))?;
                }
                if anew || complained {
                    reload(around).await;
                }
                format!("version {number} is in use already")
            }
            Verdict::Renew => {
                blocking(|| self.store.keep(&text, &signature))?;
                record.renew(version);
                blocking(|| self.store.remember(&record))?;
                self.wanted = None;
                self.policy.set_trial(None);
                reload(around).await;
                format!("version {number} is the last good one under another number")
            }
            Verdict::Try => {
                let address = self.server.address().to_owned();
                if let Err(reason) = blocking(|| around.source.load_offered(&address, &text)) {
                    return self.refuse(record, &reason, around).await;
                }
                blocking(|| self.store.keep(&text, &signature))?;
                record.begin(version);
                blocking(|| self.store.remember(&record))?;
                log::info!("the remote configuration's version {number} is on trial");
                reload(around).await;
                let trial = self.compare(around);
                self.policy.set_trial(Some(trial));
                self.observe(around);
                format!("version {number} is on trial")
            }
        };
        (self.etag, self.signature) = (etag, Some(signature));
        Ok(said)
    }

    async fn refuse(
        &mut self,
        record: Record,
        reason: &str,
        around: &mut Surroundings,
    ) -> Result<String, String> {
        let address = self.server.address();
        let place = match reason.starts_with(address) {
            true => String::new(),
            false => format!("{address}: "),
        };
        let instead = match record.current() {
            Some(version) => format!("version {} stays in use", version.number),
            None => "none is used".to_owned(),
        };
        let complaint = format!("remote configuration refused: {place}{reason}; {instead}");
        self.complain(record, &complaint, around).await;
        Ok(complaint)
    }

    /// Has status and panel say it, unless they do already.
    async fn complain(&mut self, mut record: Record, complaint: &str, around: &mut Surroundings) {
        if record.complaint.as_deref() == Some(complaint) {
            return;
        }
        record.complaint = Some(complaint.to_owned());
        match blocking(|| self.store.remember(&record)) {
            Ok(()) => reload(around).await,
            Err(problem) => log::error!("{complaint}; this cannot be written down: {problem}"),
        }
    }
}
