//! The last configuration on disk, so that a container that restarts while the controller is away serves at once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sluice_proxy_core::model::Resource;

use super::plane::Resources;

/// The file, in a folder that outlives the container but not the pod.
#[derive(Clone, Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    /// The file in `dir`.
    pub(super) fn new(dir: &Path) -> Self {
        Self { path: dir.join("resources.json") }
    }

    /// What was saved last; none when there is nothing usable.
    pub(super) fn load(&self) -> Option<Resources> {
        match read_resources(&self.path) {
            Ok(resources) => Some(resources),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "Cannot use the saved configuration");
                None
            }
        }
    }

    /// Saves what is served. A failure is logged: the configuration is served all the same.
    pub(super) fn save(&self, resources: &Resources) {
        if let Err(error) = self.write(resources) {
            tracing::warn!(path = %self.path.display(), %error, "Cannot save the configuration");
        }
    }

    /// Through another name, so that a crash leaves the old or the new one whole.
    fn write(&self, resources: &Resources) -> io::Result<()> {
        let list: Vec<&Resource> = resources.values().collect();
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&list)?)?;
        fs::rename(&fresh, &self.path)
    }
}

/// Reads a JSON list of resources.
pub(super) fn read_resources(path: &Path) -> io::Result<Resources> {
    let list: Vec<Resource> = serde_json::from_slice(&fs::read(path)?)?;
    Ok(list.into_iter().map(|resource| (resource.key(), resource)).collect())
}

#[cfg(test)]
mod tests {
    use sluice_proxy_core::model::{Listener, Resource};

    use super::{Resources, StateFile};

    #[test]
    fn what_was_saved_is_loaded_and_rubbish_is_not() {
        let dir = std::env::temp_dir().join(format!("sluice-state-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("folder");
        let file = StateFile::new(&dir);
        assert_eq!(file.load(), None);
        let listener = Listener::http("a/b/c", 1, 80);
        let resource = Resource::Listener(listener);
        let resources: Resources = [(resource.key(), resource)].into();
        file.save(&resources);
        assert_eq!(file.load(), Some(resources));
        std::fs::write(dir.join("resources.json"), "[{").expect("written");
        assert_eq!(file.load(), None);
        std::fs::remove_dir_all(&dir).expect("removed");
    }
}
