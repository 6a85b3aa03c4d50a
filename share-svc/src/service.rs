//! The service: the store with everything around it that waits and checks.

use std::sync::Arc;

use quics_meta::MetaStore;
use quics_records::Reads;

use crate::Error;

/// Everything that the calls need. One for the process.
pub(crate) struct Service {
    pub(crate) meta: Arc<dyn MetaStore>,
}

/// What the service is made of.
pub(crate) struct Parts {
    /// Metadata.
    pub(crate) meta: Arc<dyn MetaStore>,
}

impl Service {
    /// Puts the service together.
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { meta: parts.meta })
    }

    /// What is durable.
    pub(crate) fn reads(&self) -> Reads<'_> {
        Reads::durable(&*self.meta)
    }

    /// Does what may block off the runtime's threads.
    pub(crate) async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let service = self.clone();
        tokio::task::spawn_blocking(move || work(&service)).await.map_err(|_| Error::Task)?
    }
}
