//! The server's certificate, which can be read again while it serves.

use std::sync::{Arc, PoisonError, RwLock};

use holm_spec::registry::Tls;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Error;

/// Files, and what they said when they were last read.
pub struct Certificate {
    files: Tls,
    configuration: RwLock<Arc<ServerConfig>>,
}

impl Certificate {
    /// Reads the files.
    pub fn read(files: Tls) -> Result<Self, Error> {
        let configuration = RwLock::new(configuration(&files)?);
        Ok(Self { files, configuration })
    }

    /// Reads them again; if that fails, what was read before stays.
    pub fn renew(&self) -> Result<(), Error> {
        let configuration = configuration(&self.files)?;
        *self.configuration.write().unwrap_or_else(PoisonError::into_inner) = configuration;
        Ok(())
    }

    /// What greets the next client.
    pub fn acceptor(&self) -> TlsAcceptor {
        let configuration = self.configuration.read().unwrap_or_else(PoisonError::into_inner);
        TlsAcceptor::from(configuration.clone())
    }
}

fn configuration(files: &Tls) -> Result<Arc<ServerConfig>, Error> {
    let path = files.certificate.display();
    let chain = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| Error::caused(format!("read the certificate `{path}`"), error))?;
    if chain.is_empty() {
        return Err(Error::new(format!("there is no certificate in `{path}`")));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| Error::caused(format!("read the key `{}`", files.key.display()), error))?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Error::caused("prepare TLS", error))?;
    let configuration = builder
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| Error::caused(format!("use the certificate `{path}`"), error))?;
    Ok(Arc::new(configuration))
}
