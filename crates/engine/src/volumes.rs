//! Volumes beyond single workloads: pruning them, and their content as archives.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;

use holm_files::View;
use holm_spec::Id;
use holm_spec::event::EventKind;
use holm_spec::files::{Task, Unpack};
use holm_spec::volume::{MountKind, Volume};
use holm_sys::usage::Usage;
use holm_volume::NewVolume;

use crate::files::{carry_out, null};
use crate::usage::below;
use crate::{Engine, Error, Kind, Result};

/// What pruning removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PrunedVolumes {
    /// Names.
    pub volumes: Vec<String>,
    /// Bytes on the disk.
    pub bytes: u64,
}

impl Engine {
    /// Makes a volume, or finds the one of that name.
    ///
    /// # Errors
    /// [`Kind::InvalidRequest`] for a name or an option; [`Kind::NameTaken`] if there is one with other options.
    pub fn create_volume(&self, asked: &NewVolume) -> Result<Volume> {
        let volumes = self.volumes();
        let _lock = volumes.referring()?;
        let (volume, made) = volumes.create(asked)?;
        if made {
            self.tell_of(EventKind::Volume, "create", &volume.name, [("driver", "local".to_owned())]);
        }
        Ok(volume)
    }

    /// Removes a volume that no workload has, with all that it holds.
    ///
    /// # Errors
    /// [`Kind::NoSuchVolume`]; [`Kind::InUse`], by which workloads.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        self.volumes().remove(name)?;
        self.tell_of(EventKind::Volume, "destroy", name, [("driver", "local".to_owned())]);
        Ok(())
    }

    /// Removes the volumes that no workload has: those that nobody named, or `all`, as far as their labels fit.
    ///
    /// # Errors
    /// [`Kind::Corrupt`] while a workload does not tell its volumes.
    pub fn prune_volumes(
        &self,
        all: bool,
        fits: &dyn Fn(&BTreeMap<String, String>) -> bool,
    ) -> Result<PrunedVolumes> {
        let volumes = self.volumes();
        let chosen =
            volumes.list()?.into_iter().filter(|volume| (all || volume.anonymous) && fits(&volume.labels));
        let in_use = volumes.in_use()?;
        let mut counter = Usage::default();
        let mut sizes = BTreeMap::new();
        for volume in chosen.filter(|volume| in_use.of(&volume.name).next().is_none()) {
            let bytes = below(&mut counter, &self.layout.volume(&volume.name).dir, &[])?;
            sizes.insert(volume.name, bytes);
        }
        let names: Vec<String> = sizes.keys().cloned().collect();
        // One that got a workload meanwhile stays.
        let removed = volumes.remove_unused(&names)?;
        for name in &removed {
            self.tell_of(EventKind::Volume, "destroy", name, [("driver", "local".to_owned())]);
        }
        let bytes = removed.iter().filter_map(|name| sizes.get(name)).sum();
        Ok(PrunedVolumes { volumes: removed, bytes })
    }

    /// Writes what a volume holds as an archive (tar).
    ///
    /// # Errors
    /// [`Kind::NoSuchVolume`]; `output` takes no more.
    pub fn export_volume(&self, name: &str, output: OwnedFd) -> Result<()> {
        let volume = self.volumes().find(name)?;
        let pack = Task::Pack { path: "/".into(), name: "./".into(), follow: true };
        let _share = self.volumes().share(&volume)?;
        let exported = self.view(&volume).and_then(|view| carry_out(&pack, &view, None, output));
        exported.map_err(|error| error.about(format!("export volume `{name}`")))
    }

    /// Puts the content of an archive (tar) into a volume, which is made if it is not there. One that is empty is filled
    /// wholly or not at all; one that is not takes an archive only with `merge`, file by file.
    ///
    /// # Errors
    /// [`Kind::InUse`] for one that holds something; the archive makes no sense.
    pub fn import_volume(&self, name: &str, input: OwnedFd, merge: bool) -> Result<()> {
        let volume = self.create_volume(&NewVolume::named(Some(name.to_owned())))?;
        let about = |error: Error| limited(error.about(format!("import volume `{name}`")), &volume);
        // Users of the host may reach a directory of theirs: what gives rights is not for them.
        let own = volume.device().is_none();
        let options = Unpack { only: None, owner: None, privileges: own, devices: own, top: own };
        let task = Task::Unpack { directory: "/".into(), options };
        let _share = self.volumes().share(&volume)?;
        let mut input = Some(input);
        let mut unpack = |view: &View| carry_out(&task, view, input.take(), null()?);
        let fill = |directory: &Path| unpack(&view_of(directory)?).map(|()| true);
        if self.volumes().fill(&volume, fill).map_err(about)? {
            return Ok(());
        }
        if !merge && !is_empty(&self.volumes().source(&volume))? {
            let text = format!("import volume `{name}`: it holds something already");
            let hint = "holm volume import --merge adds to it and replaces what has the same name";
            return Err(Error::new(Kind::InUse, text).with_hint(Some(hint)));
        }
        self.view(&volume).and_then(|view| unpack(&view)).map_err(about)
    }

    /// Of a file system that somebody keeps mounted.
    fn view(&self, volume: &Volume) -> Result<View> {
        view_of(&self.volumes().source(volume))
    }

    /// Settles whether the volumes of a workload that nobody named go when it does; those of `--rm` do. One whose
    /// configuration cannot be read tells no volumes.
    pub(crate) fn settle_volumes(&self, id: &Id, go: bool) -> Result<()> {
        let volumes = self.volumes();
        let Ok(config) = self.config(id) else { return Ok(()) };
        if !go && !config.auto_remove {
            // It may have been settled otherwise by a removal that was killed.
            volumes.unbind(id);
            return Ok(());
        }
        let mounts = config.settings.mounts.into_iter();
        let nameless = mounts.filter(|mount| mount.kind == MountKind::Volume && mount.nameless);
        let nameless: Vec<String> = nameless.filter_map(|mount| mount.name).collect();
        if !nameless.is_empty() {
            volumes.bind_to(id, &nameless)?;
        }
        Ok(())
    }
}

/// What is full may be the volume, not the disk.
pub(crate) fn limited(error: Error, volume: &Volume) -> Error {
    match volume.quota {
        Some(quota) if error.kind() == Kind::NoSpace => {
            let hint = format!("volume `{}` holds {} bytes at most", volume.name, quota.bytes);
            error.with_hint(Some(&hint))
        }
        _ => error,
    }
}

fn is_empty(directory: &Path) -> Result<bool> {
    let failed = |error| Error::io(format!("list `{}`", directory.display()), error);
    Ok(std::fs::read_dir(directory).map_err(failed)?.next().is_none())
}

fn view_of(directory: &Path) -> Result<View> {
    let opened = File::open(directory);
    let opened = opened.map_err(|error| Error::io(format!("open `{}`", directory.display()), error))?;
    Ok(View::of(opened.into()))
}
