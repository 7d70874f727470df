//! A reload of a running server: everything that [`Options::diff`] lets change.

use super::{Server, StartError, jetstream, settings};
use crate::config::Options;
use crate::connection::TlsListener;
use std::sync::Arc;
use std::time::SystemTime;

impl Server {
    /// Takes over changed options. What may change at all has been decided by [`Options::diff`]; on an error nothing
    /// has changed. JetStream that is switched on is there when this returns: it takes as long as recovery does, so this
    /// is nothing for a thread that others wait for.
    pub fn reload(&self, options: Options) -> Result<(), StartError> {
        let directory = settings::directory(&options)?;
        let tls = settings::tls(&options).map(TlsListener::new).transpose()?;
        let monitor_tls = settings::monitor_tls(&options).map(TlsListener::new).transpose()?;
        settings::accounts(&options, &self.hub);
        self.hub.reload_tls(tls);
        self.monitor_tls.store(monitor_tls.map(Arc::new));
        self.hub.reload(settings::connections(&options), directory);
        settings::announce(&options, &self.hub, self.client_address().port());
        self.options.store(Arc::new(options));
        self.config_load_time.store(Arc::new(SystemTime::now()));
        self.reload_jetstream();
        Ok(())
    }

    /// What a reload changes of JetStream: limits, accounts, or whether it is there at all. A store that can not be
    /// opened leaves the server without JetStream, and does not undo the rest of the reload.
    fn reload_jetstream(&self) {
        let options = self.options.load_full();
        match self.jetstream.load_full() {
            Some(node) if options.jetstream.enabled => jetstream::reload(&options, &self.hub, &node),
            Some(node) => {
                tracing::info!("Initiating JetStream Shutdown...");
                self.hub.update_info(|info| info.jetstream = false);
                self.jetstream.store(None);
                node.leave();
                node.stop();
                tracing::info!("JetStream Shutdown");
            }
            None => {
                if let Err(error) = self.open_store() {
                    tracing::warn!("Can't start JetStream: {error}");
                }
            }
        }
    }
}
