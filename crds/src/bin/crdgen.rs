//! Writes each CustomResourceDefinition as YAML into a folder, under its name; `make generate` has it write `crds/yaml`.

use std::{error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args_os().nth(1).ok_or("crdgen FOLDER: the folder is missing")?);
    for definition in sluice_crds::definitions() {
        let name = definition.metadata.name.as_deref().ok_or("a definition without a name")?;
        fs::write(folder.join(format!("{name}.yaml")), sluice_crds::crd_yaml(&definition)?)?;
    }
    Ok(())
}
