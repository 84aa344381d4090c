//! Whether a workload bears a second set of pods beside the first.

use kube::api::DynamicObject;
use serde_json::Value;
use sluice_crds::{Canary, PromotionTraffic, Tolerated};

use crate::objects::at;

/// What would not bear it and is not tolerated: what, why, and the way out.
pub(crate) fn refused(workload: &DynamicObject, claims: &[DynamicObject], canary: &Canary) -> Option<String> {
    let is_tolerated = |what: Tolerated| canary.tolerate.contains(&what);
    strategy(workload, canary.promotion.traffic, is_tolerated(Tolerated::Recreate))
        .or_else(|| ports(workload, is_tolerated(Tolerated::HostPorts)))
        .or_else(|| volumes(workload, claims, is_tolerated(Tolerated::ReadWriteOnceVolumes)))
}

fn strategy(workload: &DynamicObject, traffic: PromotionTraffic, is_tolerated: bool) -> Option<String> {
    if at(workload, "/spec/strategy/type").and_then(Value::as_str) != Some("Recreate") {
        return None;
    }
    match (traffic, is_tolerated) {
        (PromotionTraffic::Canary, true) => None,
        (PromotionTraffic::Keep, _) => Some(
            "spec.strategy.type of the workload is Recreate: a promotion stops every pod at once, and with \
             promotion.traffic: Keep they serve; use RollingUpdate, or promotion.traffic: Canary"
                .to_owned(),
        ),
        (PromotionTraffic::Canary, false) => Some(
            "spec.strategy.type of the workload is Recreate: a promotion would stop every pod at once; use RollingUpdate, \
             or allow it with strategy.canary.tolerate: [Recreate]"
                .to_owned(),
        ),
    }
}

fn ports(workload: &DynamicObject, is_tolerated: bool) -> Option<String> {
    let pod = at(workload, "/spec/template/spec").filter(|_| !is_tolerated)?;
    let way_out = "if enough nodes are free, allow it with strategy.canary.tolerate: [HostPorts]";
    if pod["hostNetwork"] == true {
        return Some(format!(
            "hostNetwork: the canary's pods could not bind the ports of stable's on the same node; {way_out}"
        ));
    }
    let has_host_port = |container: &&Value| {
        container["ports"].as_array().is_some_and(|ports| ports.iter().any(|port| port["hostPort"].is_u64()))
    };
    let container = list(pod, "/containers").chain(list(pod, "/initContainers")).find(has_host_port)?;
    let name = container["name"].as_str().unwrap_or_default();
    Some(format!("container {name:?} has a hostPort, which only one pod of a node can bind; {way_out}"))
}

fn volumes(workload: &DynamicObject, claims: &[DynamicObject], is_tolerated: bool) -> Option<String> {
    let pod = at(workload, "/spec/template/spec")?;
    list(pod, "/volumes").find_map(|volume| {
        let source = volume.get("persistentVolumeClaim")?;
        let name = source.get("claimName").and_then(Value::as_str)?;
        let Some(claim) = claims.iter().find(|claim| claim.metadata.name.as_deref() == Some(name)) else {
            return Some(format!(
                "the pods need the persistentVolumeClaim {name:?}, which does not exist; create it, so that it can be seen \
                 whether stable and canary may share it"
            ));
        };
        let modes: Vec<&str> = at(claim, "/spec/accessModes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let is_read_only = source.get("readOnly") == Some(&Value::Bool(true));
        match () {
            () if modes.contains(&"ReadWriteMany") || (is_read_only && modes.contains(&"ReadOnlyMany")) => None,
            () if modes.contains(&"ReadWriteOncePod") => Some(format!(
                "the pods use the persistentVolumeClaim {name:?} of access mode ReadWriteOncePod, which one pod alone may \
                 mount: there can be no canary beside it; use a claim of mode ReadWriteMany"
            )),
            () if is_tolerated => None,
            () => Some(format!(
                "the pods share the persistentVolumeClaim {name:?} of access mode {}, which stable and canary would write at \
                 once, on one node; use ReadWriteMany, or allow it with strategy.canary.tolerate: [ReadWriteOnceVolumes]",
                modes.join(", ")
            )),
        }
    })
}

fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(path).and_then(Value::as_array).into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use sluice_crds::{PromotionTraffic, Tolerated};

    use super::refused;
    use crate::fixtures::{DEPLOYMENT, object, rollout};

    fn said(
        path: &str,
        value: serde_json::Value,
        modes: &str,
        tolerate: &[Tolerated],
        traffic: PromotionTraffic,
    ) -> Option<String> {
        let mut canary = rollout().spec.strategy.canary;
        canary.tolerate = tolerate.to_vec();
        canary.promotion.traffic = traffic;
        let mut workload = object(DEPLOYMENT);
        *workload.data.pointer_mut(path).unwrap() = value;
        let claim = object(&format!("{{metadata: {{name: disk}}, spec: {{accessModes: [{modes}]}}}}"));
        refused(&workload, &[claim], &canary)
    }

    #[test]
    fn what_is_tolerated_is_allowed_and_what_can_never_work_is_not() {
        let all = [Tolerated::Recreate, Tolerated::HostPorts, Tolerated::ReadWriteOnceVolumes];
        let pod = "/spec/template/spec";
        let recreate = json!({"type": "Recreate"});
        let host_port = json!({"containers": [{"name": "app", "ports": [{"containerPort": 1, "hostPort": 80}]}]});
        let volume = |claim: &str, read_only: bool| {
            let source = json!({"claimName": claim, "readOnly": read_only});
            json!({"volumes": [{"name": "data", "persistentVolumeClaim": source}]})
        };
        for (path, value, modes, refused, tolerated) in [
            ("/spec/strategy", recreate, "", Some("tolerate: [Recreate]"), None),
            (pod, json!({"hostNetwork": true}), "", Some("tolerate: [HostPorts]"), None),
            (pod, host_port, "", Some("container \"app\" has a hostPort"), None),
            (pod, volume("disk", false), "ReadWriteOnce", Some("tolerate: [ReadWriteOnceVolumes]"), None),
            (pod, volume("disk", false), "ReadWriteOnce, ReadWriteMany", None, None),
            (pod, volume("disk", true), "ReadOnlyMany", None, None),
            (pod, volume("disk", false), "ReadOnlyMany", Some("ReadOnlyMany"), None),
            (pod, volume("disk", false), "ReadWriteOncePod", Some("one pod alone"), Some("one pod alone")),
            (pod, volume("gone", false), "ReadWriteMany", Some("\"gone\", which does not exist"), Some("\"gone\"")),
        ] {
            for (tolerate, expected) in [(&[][..], refused), (&all[..], tolerated)] {
                let said = said(path, value.clone(), modes, tolerate, PromotionTraffic::Canary);
                assert_eq!(said.is_some(), expected.is_some(), "{value} {modes}: {said:?}");
                assert!(said.unwrap_or_default().contains(expected.unwrap_or_default()), "{value} {modes}");
            }
        }
    }

    #[test]
    fn recreate_needs_a_canary_that_carries_everything() {
        let said =
            said("/spec/strategy", json!({"type": "Recreate"}), "", &[Tolerated::Recreate], PromotionTraffic::Keep);
        assert!(said.unwrap().contains("promotion.traffic: Canary"));
    }
}
