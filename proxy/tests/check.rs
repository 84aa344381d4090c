//! `sluice-proxy check` as it is run: what it writes, and what its exit code says.
// Clippy allows these in test functions, not in what they share.
#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

const GATEWAY: &str = "
kind: Gateway
metadata: {name: web, namespace: shop}
spec: {gatewayClassName: sluice, listeners: [{name: http, port: 8080, protocol: HTTP}]}
";
const ROUTE: &str = "
kind: HTTPRoute
metadata: {name: app, namespace: shop}
spec: {parentRefs: [{name: web}], rules: [{backendRefs: [{name: app, port: 80}]}]}
";
const SERVICE: &str = "
kind: Service
metadata: {name: app, namespace: shop}
spec: {ports: [{port: 80}]}
";

/// A folder with one file of these documents.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, documents: &[&str]) -> Self {
        let folder = env::temp_dir().join(format!("sluice-check-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("all.yaml"), documents.join("---")).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left of a test that failed is in nobody's way.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn check(folder: &Path, arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_sluice-proxy");
    Command::new(program).arg("check").arg(folder).args(arguments).output().unwrap()
}

fn lines(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

#[test]
fn a_good_folder_passes_with_a_line_for_each_condition() {
    let folder = Folder::new("good", &[GATEWAY, ROUTE, SERVICE]);
    let output = check(&folder.0, &[]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(lines(&output)[0], "GatewayClass sluice: Accepted=True Accepted: Accepted");
    assert!(lines(&output).contains(&"HTTPRoute shop/app parent Gateway web: Accepted=True Accepted: Accepted"));
}

#[test]
fn a_rejected_object_fails_in_text_and_in_json() {
    let folder = Folder::new("rejected", &[GATEWAY, ROUTE]);
    let output = check(&folder.0, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let message = "Service shop/app does not exist";
    let expected = format!("HTTPRoute shop/app parent Gateway web: ResolvedRefs=False BackendNotFound: {message}");
    assert_eq!(lines(&output).last(), Some(&&*expected));

    let output = check(&folder.0, &["-o", "json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let expected = serde_json::json!({
        "kind": "HTTPRoute", "namespace": "shop", "name": "app", "parent": {"name": "web"},
        "type": "ResolvedRefs", "status": "False", "reason": "BackendNotFound", "message": message,
    });
    assert_eq!(findings.last(), Some(&expected));
}

#[test]
fn what_cannot_be_read_has_a_code_of_its_own_and_names_the_place() {
    let folder = Folder::new("unreadable", &[GATEWAY, "\nkind: HTTPRoute\nmetadata: {name: bad}\nspec: {rules: 7}\n"]);
    let nothing = Folder::new("nothing", &[SERVICE]);
    for (path, problems) in [
        (&*folder.0, &["all.yaml: document 2 (line 6): HTTPRoute default/bad: spec.rules: "][..]),
        (&nothing.0, &["no GatewayClass, Gateway, ListenerSet or route"]),
        (Path::new("/nowhere/at/all"), &["cannot read folder /nowhere/at/all"]),
    ] {
        let output = check(path, &[]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(problems.iter().all(|problem| error.contains(problem)), "{error}");
        assert!(output.stdout.is_empty());
    }
}
