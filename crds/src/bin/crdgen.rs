//! Prints the CustomResourceDefinition as YAML; `make generate` writes it to `crds/yaml`.

fn main() -> Result<(), sluice_crds::YamlError> {
    print!("{}", sluice_crds::crd_yaml()?);
    Ok(())
}
