//! The image of a new workload: here, or from its registry.

use holm_engine::registry::Connections;
use holm_engine::{CreateRequest, Created, Engine, Kind};
use holm_spec::event::EventKind;

use crate::command::pull::Pull;
use crate::command_error::CommandError;
use crate::context::Context;
use crate::resolve::image;
use crate::resolve::pull::Pull as When;
use crate::transfer::Manner;

/// How an image comes here.
#[derive(Clone, Copy, Debug)]
pub struct Supply {
    /// When it is pulled.
    pub pull: When,
    /// Nothing is said of that.
    pub quiet: bool,
}

impl Supply {
    /// Creates a workload of an image that is here, or is pulled first.
    ///
    /// # Errors
    /// Those of [`Engine::create`], and of a pull.
    pub fn create(
        self,
        context: &Context,
        engine: &Engine,
        request: &CreateRequest,
    ) -> Result<Created, CommandError> {
        let name = match self.pull {
            When::Always => self.pull(context, engine, request)?,
            When::Never => return Ok(engine.create(request)?),
            When::Missing => match engine.create(request) {
                Err(error) if is_absent(error.kind(), request) => self
                    .pull(context, engine, request)
                    .map_err(|failure| failure.during(&error.to_string()))?,
                created => return Ok(created?),
            },
        };
        Ok(engine.create(&CreateRequest { image: name, ..request.clone() })?)
    }

    /// Pulls the image; gives its name.
    fn pull(
        self,
        context: &Context,
        engine: &Engine,
        request: &CreateRequest,
    ) -> Result<String, CommandError> {
        let connections = Connections::read()?;
        let reference = image::reference(&connections.expand(&request.image))?;
        let manner = if self.quiet { Manner::Quiet } else { Manner::Talk };
        let (store, platform) = (engine.images(), request.platform.as_ref());
        let pull = Pull { store, connections: &connections, platform, manner };
        pull.one(&reference)?;
        engine.tell_of(EventKind::Image, "pull", reference.familiar(), [("name", reference.familiar())]);
        if let Ok(image) = store.resolve(&reference.to_string()) {
            context.keep_to_size(engine, &image.id);
        }
        Ok(reference.to_string())
    }
}

/// Whether what is asked for may be in a registry, and is not here.
fn is_absent(kind: Kind, request: &CreateRequest) -> bool {
    match kind {
        Kind::NoSuchImage => true,
        Kind::ForeignImage => request.platform.is_some(),
        _ => false,
    }
}
