//! Prints the CustomResourceDefinition as YAML; `make generate` writes it to `crds/yaml`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    print!("{}", serde_saphyr::to_string(&sluice_crds::Rollout::crd())?);
    Ok(())
}
