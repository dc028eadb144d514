//! Uploads between their requests: the open file and the running hash stay in memory, up to a number of them.
//!
//! One request at a time writes to an upload: it holds the slot's lock, also in work that goes on after the client has
//! gone. Who comes meanwhile is told so and nothing of theirs is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::OwnedMutexGuard;

use crate::name::UploadId;
use crate::storage::Upload;

/// How many stay in memory. Others are opened and hashed anew.
const LIMIT: usize = 256;

type Slot = Arc<tokio::sync::Mutex<Option<Upload>>>;

/// The right to write to an upload; `None` in it until somebody opened the upload.
pub type Held = OwnedMutexGuard<Option<Upload>>;

/// The uploads in memory.
#[derive(Default)]
pub struct Sessions(Mutex<HashMap<UploadId, (Slot, Instant)>>);

impl Sessions {
    /// Takes a new upload in.
    pub fn insert(&self, upload: Upload) {
        let id = upload.id().clone();
        let mut slots = self.slots();
        make_room(&mut slots);
        slots.insert(id, (Arc::new(tokio::sync::Mutex::new(Some(upload))), Instant::now()));
    }

    /// The right to write to an upload, unless somebody else has it.
    pub fn hold(&self, id: &UploadId) -> Option<Held> {
        let mut slots = self.slots();
        if !slots.contains_key(id) {
            make_room(&mut slots);
        }
        let (slot, used) = slots.entry(id.clone()).or_insert_with(|| (Slot::default(), Instant::now()));
        *used = Instant::now();
        slot.clone().try_lock_owned().ok()
    }

    /// Forgets an upload that is no more.
    pub fn remove(&self, id: &UploadId) {
        self.slots().remove(id);
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<UploadId, (Slot, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets go what was not used for longest, unless all are in use: as many requests there can be, and no more.
fn make_room(slots: &mut HashMap<UploadId, (Slot, Instant)>) {
    if slots.len() < LIMIT {
        return;
    }
    let idle = slots.iter().filter(|(_, (slot, _))| Arc::strong_count(slot) == 1);
    if let Some(oldest) = idle.min_by_key(|(_, (_, used))| *used).map(|(id, _)| id.clone()) {
        slots.remove(&oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_writes_at_a_time_and_memory_is_bounded() {
        let (sessions, id) = (Sessions::default(), UploadId::random());
        let held = sessions.hold(&id).expect("free");
        assert!(sessions.hold(&id).is_none());
        for _ in 0..2 * LIMIT {
            drop(sessions.hold(&UploadId::random()));
        }
        assert_eq!(sessions.slots().len(), LIMIT);
        assert!(sessions.hold(&id).is_none(), "what is in use stays");
        drop(held);
        assert!(sessions.hold(&id).is_some());
    }
}
