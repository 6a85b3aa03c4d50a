//! How a root deals with conflicts.

use quics_meta::Receipt;
use quics_records::Reads;
use quics_types::{DeviceId, RootId, Settings};

use super::Ledger;
use super::write::By;
use crate::db::answers::SettingsEntry;
use crate::db::keys;
use crate::db::records::{self, Cause};
use crate::{Error, WallTime};

/// What becomes of a change of settings.
#[derive(Debug)]
pub enum Changed {
    /// They are these when the receipt has resolved.
    Done(Receipt, Settings),
    /// They are these: another change came before.
    Stale(Settings),
}

impl Ledger {
    /// The durable settings of a root; the defaults where nobody set any.
    ///
    /// # Errors
    /// Those of the store.
    pub fn settings(&self, root: RootId) -> Result<Settings, Error> {
        self.settings_of(self.durable(), root)
    }

    pub(super) fn settings_of(&self, reads: Reads<'_>, root: RootId) -> Result<Settings, Error> {
        let kept = records::get::<SettingsEntry>(reads, &keys::settings(root))?;
        Ok(kept.map(|kept| kept.record.settings).unwrap_or_default())
    }

    /// Sets the settings of a root, if they still have the revision that the new ones carry; that is raised.
    ///
    /// # Durability
    /// When the receipt has resolved; they may not be told before.
    ///
    /// # Errors
    /// Those of the store.
    pub fn set_settings(
        &self,
        root: RootId,
        device: DeviceId,
        mut settings: Settings,
        now: WallTime,
    ) -> Result<Changed, Error> {
        let memo = self.memo(root);
        let _one_at_a_time = memo.lock();
        let there = self.settings_of(self.latest(), root)?;
        if there.revision != settings.revision {
            return Ok(Changed::Stale(there));
        }
        settings.revision += 1;
        let mut write = self.write(root, By { device, order: (0, 0), at: now }, Cause::Settings)?;
        write.settings(settings.clone())?;
        Ok(Changed::Done(write.submit()?, settings))
    }
}
