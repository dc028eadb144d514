//! Which registries a name leads to, and who we are there.

use holm_spec::Reference;

use crate::client::Client;
use crate::configuration::Configuration;
use crate::error::{Kind, Result};
use crate::registries::Registries;

/// What is configured of registries.
#[derive(Clone, Debug)]
pub struct Connections {
    configuration: Configuration,
    registries: Registries,
}

impl Connections {
    /// Reads what is configured.
    ///
    /// # Errors
    /// [`Kind::Configuration`].
    pub fn read() -> Result<Self> {
        Ok(Self { configuration: Configuration::read()?, registries: Registries::read()? })
    }

    /// What a user's name of an image means (see [`Registries::expand`]).
    pub fn expand(&self, name: &str) -> String {
        self.registries.expand(name)
    }

    /// A client of the registry `domain`.
    ///
    /// # Errors
    /// [`Kind::Configuration`], [`Kind::Blocked`].
    pub fn client(&self, domain: &str) -> Result<Client> {
        Client::new(domain, &self.configuration, &self.registries)
    }

    /// Where an image may come from: clients, each with the repository's path there; mirrors first.
    ///
    /// # Errors
    /// As [`Connections::client`], if there is none.
    pub fn sources(&self, reference: &Reference) -> Result<Vec<(Client, String)>> {
        let rules = self.registries.rules(reference.domain());
        let mut sources = Vec::new();
        for mirror in &rules.mirrors {
            let (domain, prefix) = mirror.split_once('/').unwrap_or((mirror, ""));
            let path = format!("{prefix}/{}", reference.path());
            sources.push((self.client(domain)?, path.trim_start_matches('/').to_owned()));
        }
        match self.client(reference.domain()) {
            Ok(client) => sources.push((client, reference.path().to_owned())),
            Err(error) if error.kind() == Kind::Blocked && !sources.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(sources)
    }
}
