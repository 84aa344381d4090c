//! Makes and deletes the copies that protect the canary's pods.

use kube::api::PropagationPolicy;
use sluice_operator_core::coverage::{Source, copy_name};

use super::{ActError, Hands};
use crate::{
    objects::copy::{Sides, copy},
    observe::covering::copied_kind,
};

impl Hands<'_> {
    /// Made from what is there at this moment; what someone made of the name in the meantime is a conflict.
    pub(super) async fn make_copies(&self, copies: &[Source]) -> Result<(), ActError> {
        let targets = &self.observed.targets;
        let relabel = self.relabel()?;
        let sides = Sides {
            relabel: &relabel,
            services: (&targets.service, &targets.canary_service),
            replicas: self.observed.state.run.as_ref().map_or(0, |run| run.replicas),
        };
        for of in copies {
            let Some(kind) = copied_kind(&of.kind) else { continue };
            let source = self.cluster.get(self.at(kind, &of.name)).await?;
            let source = source.ok_or_else(|| self.gone(&of.kind, &of.name))?;
            if let Some(copy) = copy(&self.owner(), kind, &source, &sides) {
                self.cluster.create(self.at(kind, &copy_name(&of.name)), &copy).await?;
            }
        }
        Ok(())
    }

    /// Deletes those that are ours.
    pub(super) async fn delete_copies(&self, copies: &[Source]) -> Result<(), ActError> {
        for (of, there) in &self.observed.copies {
            if let Some(kind) = copied_kind(&of.kind).filter(|_| copies.contains(of)) {
                self.delete(kind, there.as_ref(), PropagationPolicy::Background).await?;
            }
        }
        Ok(())
    }
}
