//! The examples without a cluster: `sluice-proxy check` finds nothing to say against them, and says what is wrong with those
//! that are to be refused.
// Clippy allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// What only a cluster has all of: users' rights, a Secret that cert-manager makes, the class of the install manifest.
const IN_A_CLUSTER_ONLY: [&str; 3] = ["06-roles", "07-tls-cert-manager", "10-gateway-classes"];

/// Names of the folders that hold an example.
fn examples() -> Vec<String> {
    let entries = fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.starts_with(|first: char| first.is_ascii_digit())).collect();
    names.sort();
    names
}

/// Checks the manifests of some folders of an example together, with the certificates that its page has made.
fn check(example: &str, folders: &[&str]) -> Output {
    let together =
        std::env::temp_dir().join(format!("sluice-example-{example}-{}-{}", folders.len(), std::process::id()));
    fs::create_dir_all(&together).unwrap();
    for folder in folders {
        for entry in fs::read_dir(root().join("examples").join(example).join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|end| end == "yaml") {
                let name = format!("{folder}-{}", path.file_name().unwrap().to_str().unwrap());
                fs::copy(&path, together.join(name)).unwrap();
            }
        }
    }
    let page = fs::read_to_string(root().join(format!("docs/scenarios/{example}.md"))).unwrap_or_default();
    let made = page
        .lines()
        .filter(|line| line.starts_with("examples/certificate.sh"))
        .filter_map(|line| line.split('|').next());
    for (number, command) in made.enumerate() {
        let made = Command::new("sh").args(["-c", command]).current_dir(root()).output().unwrap();
        assert!(made.status.success(), "{command}: {made:?}");
        fs::write(together.join(format!("certificate-{number}.yaml")), made.stdout).unwrap();
    }
    let output = Command::new(env!("CARGO_BIN_EXE_sluice-proxy")).arg("check").arg(&together).output().unwrap();
    fs::remove_dir_all(together).unwrap();
    output
}

#[test]
fn every_example_that_needs_no_cluster_passes_the_check() {
    let examples = examples();
    assert!(!examples.is_empty());
    for example in examples.into_iter().filter(|example| !IN_A_CLUSTER_ONLY.contains(&example.as_str())) {
        let output = check(&example, &[""]);
        assert_eq!(output.status.code(), Some(0), "{example}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn what_the_cross_namespace_example_has_refused_is_found_without_a_cluster() {
    let output = check("05-cross-namespace", &["", "refused"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let is_rejection = |line: &&str| line.contains("=False") && !line.contains("Conflicted=False");
    let without_message = |line: &str| line.split(": ").take(2).collect::<Vec<_>>().join(": ");
    let rejected: Vec<_> = text.lines().filter(is_rejection).map(without_message).collect();
    let expected = [
        "Gateway infra-ns/no-grant listener https: Programmed=False Invalid",
        "Gateway infra-ns/no-grant listener https: ResolvedRefs=False RefNotPermitted",
        "HTTPRoute other-ns/other parent Gateway infra-ns/shared-gateway: Accepted=False NotAllowedByListeners",
        "HTTPRoute site-ns/taken parent Gateway infra-ns/shared-gateway: ResolvedRefs=False RefNotPermitted",
    ];
    assert_eq!(rejected, expected, "{text}");
}
